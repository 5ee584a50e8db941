"""Prompt sets: the embedded one, DreamFields' captions in their own layout (made-up ones here), a user's own file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from suite import prompts as sets
from suite.catalogue.judges import NANO
from suite.catalogue.models import MODELS
from suite.metrics.quality import gallery_sha256
from suite.metrics.scoring import DIVERSITY_PROMPTS
from suite.metrics.seen import POINTS
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.names import UnknownName
from suite.prompts import (
    COCO_CAPTIONS,
    PromptsError,
    find_judging,
    load_prompts,
    read_coco,
    read_prompts,
    why_unreadable,
)
from suite.records import PROTOCOL
from suite.scenes import renderer

THINGS = ("Dog", "cat", "BUS", "kite", "a clock", "two  bowls", "sign", "a 'blue' vase", 'the "red" train')
CAPTIONS = [f"{THINGS[k % 9]} number {k}{('', '.', ' ', '. ')[k % 4]}" for k in range(153)]


def coco_file(folder: Path, captions: list[str] = CAPTIONS, more: str = "") -> Path:
    """A file in the layout of DreamFields' own: a list, and a line of code that brings the list into shape."""
    path = folder / COCO_CAPTIONS.name
    lines = [f"    {caption!r}," for caption in captions]
    path.write_text(
        "\n".join(['"""Prompts."""', "queries = [", *lines, "]", "queries = [q.lower() for q in queries]", more])
    )
    return path


@pytest.fixture
def coco(cache: Path, monkeypatch) -> Path:
    path = coco_file(cache)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(sets, "COCO_CAPTIONS", replace(COCO_CAPTIONS, sha256=digest, bytes=None))
    return path


def prompt_file(folder: Path, text: str) -> Path:
    path = folder / "mine.txt"
    path.write_text(text)
    return path


# By name.


def test_every_model_is_scored_by_a_set_that_exists():
    assert {model.prompts for model in MODELS.values()} <= set(sets.SETS)
    with pytest.raises(UnknownName, match="nearest: coco"):
        load_prompts("cocoa")


def test_the_embedded_set_is_the_committed_file():
    gallery = json.loads(sets.GALLERY.read_text())
    made = load_prompts("embedded")
    assert (list(made.prompts), list(made.captions)) == (gallery["prompts"], gallery["distractors"])
    assert made.sha256 == gallery_sha256() == hashlib.sha256(sets.GALLERY.read_bytes()).hexdigest()
    assert made.rivals(made.prompts[0]) == gallery["distractors"] and made.large


def test_the_coco_captions_are_read_in_dreamfields_own_form_and_their_code_is_not_run(cache, tmp_path):
    path = coco_file(cache, more=f"open({str(tmp_path / 'ran')!r}, 'w')")
    captions = read_coco(path)
    assert captions[:4] == ["dog number 0.", "cat number 1.", "bus number 2.", "kite number 3."]
    assert captions[5] == "two  bowls number 5." and captions[7] == "a 'blue' vase number 7."
    assert not (tmp_path / "ran").exists()


def test_a_coco_object_is_ranked_among_the_other_152_captions(coco):
    made = load_prompts("coco")
    assert len(made.prompts) == 153 and not made.scenes
    for own in (made.prompts[0], made.prompts[152]):
        assert set(made.rivals(own, sets.RIVALS)) == set(made.prompts) - {own}
        assert made.rivals(own) == made.rivals(own, sets.RIVALS)  # there are no more, and no gallery of 3,001
    assert not made.large
    assert made.sha256 == load_prompts("coco").sha256 != load_prompts("embedded").sha256


def test_absent_coco_captions_say_the_command(cache):
    for ask in (lambda: load_prompts("coco"), lambda: gallery_sha256("coco"), lambda: find_judging("coco")):
        with pytest.raises(WeightsAbsent, match="python -m suite.weights fetch coco"):
            ask()
    find_judging("embedded")


def test_absent_judges_say_the_command(coco):
    with pytest.raises(WeightsAbsent, match="python -m suite.weights fetch clip-vit-b-32"):
        find_judging("coco")
    with pytest.raises(WeightsAbsent, match="python -m suite.weights fetch clip-vit-l-14"):
        find_judging("embedded", "clip-vit-l-14")
    with pytest.raises(UnknownName, match="unknown judge 'clip-vit-l'"):
        find_judging("embedded", "clip-vit-l")


def test_altered_coco_captions_are_refused(coco):
    coco.write_text(coco.read_text().replace("kite", "kites"))
    with pytest.raises(WeightsError, match="sha256 is .*published"):
        load_prompts("coco")


@pytest.mark.parametrize("text", ["<html>", "x = 1", "queries = [f(1)]", "queries = ['a', 'b']"])
def test_a_page_that_is_no_list_of_153_captions_is_refused(tmp_path, text):
    path = tmp_path / "file.py"
    path.write_text(text)
    with pytest.raises(WeightsError, match="file.py: (not the file of captions|2 captions, expected 153)"):
        read_coco(path)


# A user's own.


def test_a_users_prompts_stand_among_themselves_and_the_sets_captions(tmp_path):
    path = prompt_file(tmp_path, "a red cube\n  two   blue balls \na green cone\n")
    made = load_prompts("embedded", path)
    assert made.prompts == ("a red cube", "two blue balls", "a green cone")
    rivals = made.rivals("two blue balls", sets.RIVALS)
    assert rivals[:2] == ["a red cube", "a green cone"] and len(rivals) == 152
    assert rivals[2:] == list(load_prompts("embedded").captions[:150])
    assert len(made.rivals("a red cube")) == 3000 and made.large and made.name == "file:mine.txt"


def test_a_users_prompt_that_is_a_distractor_is_no_rival_of_itself(tmp_path):
    distractor = load_prompts("embedded").captions[3]
    made = load_prompts("embedded", prompt_file(tmp_path, f"a red cube\n{distractor}\n"))
    assert distractor not in made.rivals(distractor) and made.rivals("a red cube").count(distractor) == 1


def test_a_users_prompts_stand_among_the_coco_captions_for_a_full_size_model(coco, tmp_path):
    made = load_prompts("coco", prompt_file(tmp_path, "a red cube\n"))
    assert made.prompts == ("a red cube",)
    assert made.rivals("a red cube", sets.RIVALS) == list(load_prompts("coco").prompts[:152]) and not made.large


def test_other_prompts_are_another_gallery(tmp_path):
    first = gallery_sha256("embedded", prompt_file(tmp_path, "a red cube\n"))
    assert first == gallery_sha256("embedded", prompt_file(tmp_path, " a red  cube"))
    assert first != gallery_sha256("embedded", prompt_file(tmp_path, "a red ball\n"))
    assert first != gallery_sha256("embedded")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mine.txt: empty; expected one prompt a line"),
        ("a\n\nb\n", "mine.txt, line 2: empty"),
        ("a\nb\n \t\n", "mine.txt, line 3: empty"),
        ("a cat\nb\na  cat \n", "mine.txt, line 3: 'a cat' is line 1 already"),
        ("a\n" + "b" * 301, "mine.txt, line 2: 301 characters"),
        (
            "a red cube\nA red cube\n",
            "mine.txt, line 2: 'A red cube' is read like line 1, 'a red cube', by the embedded",
        ),
        (
            "a blue ball\na cube\na blue ball.\n",
            "line 3: 'a blue ball.' is read like line 1, 'a blue ball', by the emb",
        ),
        ("a 3d cat\na cube\na 3 D cat\n", "line 3: 'a 3 D cat' is read like line 1, 'a 3d cat', by CLIP"),
        ('a “fine” cat\na "ﬁne" cat\n', "line 2: .* is read like line 1, .* by CLIP, whose tokens are the same"),
        ("caf\u00e9\ncafe\u0301\n", "line 2: .* is read like line 1, .* by CLIP"),
        ("a red cube ,\na red cube\n", "line 2: 'a red cube' is read like line 1"),
        ("a zebra & a cat\na zebra &amp; a cat\n", "line 2: .* by CLIP"),
        ("a\n" + "红色的立方体" * 20 + "和猫\n", r"line 2: \d\d\d tokens of CLIP's .* reads 77: the rest would be cut"),
        ("a " * 76, "line 1: 78 tokens of CLIP's"),
        ("a cat<|x|>\na cat<end_of_text> on a mat\n", "line 2: CLIP reads it to its mark <end_of_text> only"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    with pytest.raises(PromptsError, match=words):
        read_prompts(prompt_file(tmp_path, text))


def test_a_line_that_only_looks_like_a_committed_caption_is_named_with_it(tmp_path):
    caption = load_prompts("embedded").captions[70]
    for like in (caption.capitalize(), f"{caption}.", caption.upper(), f"{caption} ,"):
        path = prompt_file(tmp_path, f"a red cube\n{like}\n")
        words = f"line 2: {like!r} is read like {caption!r}, a caption .* by the embedded models.*; write it as that"
        for ask in (lambda path=path: load_prompts("embedded", path), lambda path=path: sets.check_file(path)):
            with pytest.raises(PromptsError, match=words):
                ask()
    sets.check_file(prompt_file(tmp_path, f"a red cube\n {caption.replace(' ', '  ')}\n"))


def test_so_is_one_that_looks_like_a_coco_caption_to_clip(coco, tmp_path):
    bus, bowls = "bus number 2.", "two  bowls number 5."
    with pytest.raises(PromptsError, match=f"line 1: 'BUS number 2 .' is read like {bus!r}.* by CLIP"):
        sets.check_file(prompt_file(tmp_path, "BUS number 2 .\n"))
    load_prompts("embedded", prompt_file(tmp_path, "BUS number 2 .\n"))  # whose captions it is none of
    made = load_prompts("coco", prompt_file(tmp_path, f"bus number 2\n{bowls}\n"))  # CLIP sees the full stop
    assert "bus number 2" in made.captions and bus in made.captions
    assert made.prompts[1] == "two bowls number 5." and bowls not in made.captions  # spaces are nothing to any reader


def test_a_prompt_that_is_painted_must_leave_place_for_the_sentence_around_it(tmp_path, monkeypatch):
    path = prompt_file(tmp_path, "a red cube\n" + "red " * 70)
    text, image = MODELS["point-e-40m-text"], MODELS["point-e-40m-image"]
    assert why_unreadable("coco", None, path, text) is None
    assert re.match(
        r"mine.txt, line 2: \d\d tokens.*painted as 'a 3D render", why_unreadable("coco", None, path, image)
    )
    monkeypatch.setenv("TEXT3D_PICTURES", "pictures.zip")
    assert why_unreadable("coco", None, path, image) is None


def test_lines_that_would_have_one_picture_are_refused_where_pictures_are_given(tmp_path, monkeypatch):
    path = prompt_file(tmp_path, "a red cube\na (red) cube!\n")
    assert len(read_prompts(path)) == 2
    monkeypatch.setenv("TEXT3D_PICTURES", "pictures.zip")
    with pytest.raises(PromptsError, match="line 2: .* is read like line 1, 'a red cube', by pictures on a disk"):
        read_prompts(path)


def test_what_breaks_a_line_elsewhere_stays_inside_it(tmp_path):
    path = prompt_file(tmp_path, "")
    path.write_bytes("\ufeffa red cube\u2028on\x0ba\x0cblue\x85ball\r\na dog\ra cat\n".encode())
    assert read_prompts(path) == ["a red cube on a blue ball", "a dog a cat"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red cube\na blue kube\n", "mine.txt, line 2: .* do not know the word 'kube'; nearest: .*cube"),
        ("A Red Cube.\na red cube on a zebra\na dog\n", r"line 2 \(and in 1 more\): .*'zebra'"),
        ("a xylophone\n", "'xylophone'; they know a, two, three, .*purple.*floating"),
        ("a medium red cube\n", "line 1: .*'medium'"),
        (". .\n", "line 1: it has no word"),
        ("red " * 15, "line 1: 15 words, at most 14"),
    ],
)
def test_embedded_models_cannot_read_other_words_and_full_size_ones_can(tmp_path, text, words):
    path = prompt_file(tmp_path, text)
    found = why_unreadable("embedded", None, path)
    assert re.search(words, found) and found.endswith("; full-size models read any words")
    assert why_unreadable("embedded", "clip-vit-b-32", path) == found  # another judge, the same model
    assert why_unreadable("coco", None, path) is None


def test_prompts_of_the_grammar_are_read_by_all(tmp_path):
    path = prompt_file(tmp_path, "A red cube.\ntwo small blue balls\n")
    assert [why_unreadable(name, None, file) for name in sets.SETS for file in (None, path)] == [None] * 4
    assert "--judge clip-vit-b-32 reads them" in why_unreadable("coco", NANO)
    assert why_unreadable("embedded", NANO) is None


def test_files_that_are_no_text_are_named(tmp_path):
    with pytest.raises(PromptsError, match="absent.txt: cannot be read"):
        read_prompts(tmp_path / "absent.txt")
    (tmp_path / "mine.txt").write_bytes(b"a\xff\xfe")
    with pytest.raises(PromptsError, match="not a text file in UTF-8"):
        read_prompts(tmp_path / "mine.txt")
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbfa cat\r\na dog\r\n")
    assert read_prompts(tmp_path / "mine.txt") == ["a cat", "a dog"]


def test_the_protocols_page_says_what_the_code_does():
    page = (Path(__file__).parents[1] / "docs/protocol.md").read_text()
    azimuths = ", ".join(f"{angle:.0f}°" for angle in renderer.AZIMUTHS_DEG)
    for words in (
        f"Version {PROTOCOL}",
        f"| {PROTOCOL} |",
        f"azimuths {azimuths} and elevation {renderer.ELEVATION_DEG:.0f}°",
        f"{renderer.CAMERA_DISTANCE} from the origin",
        f"height is {renderer.HALF_FIELD} at",
        f"{POINTS:,} points",
        f"{sets.RIVALS} distractors",
        f"{sets.RIVALS_LARGE:,} distractors",
        *(f"`{sets.JUDGE_OF[name]}`" for name in sets.SETS),
        f"first {DIVERSITY_PROMPTS} prompts",
    ):
        assert words in page, words
    assert renderer.BACKGROUND == 1.0  # white
