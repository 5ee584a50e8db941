"""Lines of files, and CLIP's tokens without torch, held to open_clip's own tokenizer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suite.models.conditioning.clip import import_open_clip
from suite.models.conditioning.reading import CLIP_CONTEXT, clip_tokens, lines_of, why_cut
from suite.prompts import load_prompts

TEXTS = [
    "a red cube",
    "A  Red\tCube.",
    "it's 3D, isn't it? we'll see: 2048 voxels!!",
    "café, cafe\u0301, ｆｕｌｌ ｗｉｄｔｈ, ﬁne “quotes” — and…",
    "&lt;b&gt; &amp;amp; schÃ¶n",
    "红色的立方体和猫",
    "красный куб 🧊🧊 émigré Ǆ ß İ",
    "a\u2028b\u0085c\x0bd\x0ce\u200bf\ufeffg\x00h",
    "<start_of_text> a <END_OF_TEXT> b",
    "supercalifragilisticexpialidocious-antidisestablishmentarianism_" * 3,
    "'s't'll'x 'S ½ ² Ⅳ ๓",
    "",
    " . , ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_open_clip(text):
    tokenizer = import_open_clip().tokenizer.SimpleTokenizer()
    assert [tokenizer.encoder[token] for token in clip_tokens(text)] == tokenizer.encode(text)


def test_so_are_those_of_every_caption_of_the_gallery():
    tokenizer, made = import_open_clip().tokenizer.SimpleTokenizer(), load_prompts("embedded")
    for text in made.prompts[::8] + made.captions[::8]:
        assert [tokenizer.encoder[token] for token in clip_tokens(text)] == tokenizer.encode(text)


def test_a_text_is_told_to_be_cut_just_where_open_clip_cuts_it():
    for count in (74, 75, 76, 122):
        text = "red " * count
        row = import_open_clip().tokenize([text])[0].tolist()
        assert (why_cut(text) is None) == (row[: count + 1] == row[:1] + row[1:2] * count), count
    assert (
        why_cut("red " * 120)
        == f"122 tokens of CLIP's with start and end, which reads {CLIP_CONTEXT}: the rest would be cut"
    )
    assert "mark <end_of_text>" in why_cut("a red cube <End_Of_Text> on a ball")


def test_lines_end_at_line_feeds_only():
    inside = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei\rj"
    assert lines_of(f"{inside}\nk\r\n\nl".encode()) == [inside, "k", "", "l"]
    assert lines_of(b"\xef\xbb\xbfa\nb\n") == ["a", "b"] and lines_of(b"") == []
    assert lines_of(b"\xef\xbb\xbf\xef\xbb\xbfa") == ["a"]


def test_reading_leaves_torch_out():
    code = (
        "import sys; from suite.models.conditioning.reading import clip_tokens; clip_tokens('a red cube');"
        "print([name for name in ('torch', 'open_clip') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
