"""What lies in a file's place is called by its name: a web page, a pointer, nothing; and never in torch's words."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from suite import prompts, weights
from suite.models.checkpoints.convert import read_checkpoint, read_safetensors
from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.foreign import why_foreign
from suite.models.checkpoints.official import load_official
from suite.models.checkpoints.official_files import OFFICIAL
from suite.models.checkpoints.pins import PINS
from suite.models.conditioning.pictures_on_disk import PicturesOnDisk
from tests.official_cases import NAME, any_layout, layout  # noqa: F401

TORCHS_ADVICE = ("weights_only", "arbitrary code", "torch.load", "trust", "Re-running", "PyTorch")


def saved(state: object = None, **more) -> bytes:
    made = io.BytesIO()
    torch.save(layout() if state is None else state, made, **more)
    return made.getvalue()


def zipped(**entries: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return made.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FOREIGN = {
    "a web page": (b"<!DOCTYPE html><html>Sign in</html>", "begins with '<!DOCTYPE html>': a web page, not weights"),
    "a web page after lines": (b"\n\n  <HTML lang='en'>", "not weights: a login or proxy page? fetch it again"),
    "a web page with a mark": (b"\xef\xbb\xbf<!doctype html>", "a web page"),
    "a web page in UTF-16": ("<html>Anmelden</html>".encode("utf-16"), "a web page"),
    "a web page in Latin-1": ("<html><p>Zugang für Gäste</p>".encode("latin-1"), "a web page"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "JSON": (b'{"error": "not found"}', 'begins with \'{"error": "not found"}\': a server\'s answer in JSON'),
    "a JSON list": (b' [{"message": "rate limit"}]', "a server's answer in JSON"),
    "text": (b"404: Not Found\n", "begins with '404: Not Found': text, not weights"),
    "a pointer": (POINTER, "is a Git LFS pointer, not the file that it points at: `git lfs pull`"),
    "nothing": (b"", "is empty; fetch it again"),
    "a line": (b"\n", "text"),
    "zeros": (b"\0" * 5000, "begins with nothing but zeros: a download that was never filled?"),
    "gzip": (gzip.compress(saved()), "is a gzip file, not weights"),
    "bzip2": (bz2.compress(saved()), "is a bzip2 file, not weights"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is a picture, not weights"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("read", [read_checkpoint, read_safetensors])
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, kind, read):
    content, words = FOREIGN[kind]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as refusal:
        read(path)
    assert words in str(refusal.value) and str(refusal.value).startswith(f"{path}: refused: ")


BROKEN = {
    "a zip file of something else": (zipped(readme=b"nothing"), "a zip file, but no checkpoint"),
    "an empty zip file": (zipped(), "a zip file, but no checkpoint"),
    "a truncated zip file": (saved()[:-30], "its end is missing: truncated; fetch it again"),
    "half a zip file": (saved()[:700], "its end is missing: truncated"),
    "a truncated old file": (saved(_use_new_zipfile_serialization=False)[:300], "damaged or truncated"),
    "a broken pickle": (b"\x80\x02}q\0(X\xff\xff", "its pickle is broken|damaged or truncated"),
    "a pickle of another protocol": (pickle.dumps({"a": 1}, protocol=5), "pickle|damaged|not a tensor"),
    "noise": (bytes(range(128, 256)) * 30, "its pickle is broken|damaged or truncated|begins with"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_told_in_own_words_and_not_pinned(any_layout, cache, capsys, kind):
    """torch's own advise to run whatever code the file brings."""
    content, words = BROKEN[kind]
    path = cache / f"{NAME}.pt"
    path.write_bytes(content)
    assert weights.main(["verify", NAME]) == 1
    said = capsys.readouterr().out
    assert f"{path}: refused: " in said and any(word in said for word in words.split("|")), said
    assert not any(word in said for word in TORCHS_ADVICE) and not (cache / PINS).exists()


@pytest.mark.parametrize("state", [{"a": torch.nn.Linear(1, 1)}, {"a": Path("x")}, {"a": torch.ones(1).numpy()}])
def test_a_pickle_that_asks_for_more_is_told_in_own_words(tmp_path, state):
    (tmp_path / "file.pt").write_bytes(saved(state))
    with pytest.raises(WeightsError, match="asks to run code|asks for what weights never need|not a tensor") as refusal:
        read_checkpoint(tmp_path / "file.pt")
    assert not any(word in str(refusal.value) for word in TORCHS_ADVICE)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_checkpoints_are_not_foreign(tmp_path, options):
    (tmp_path / "file.pt").write_bytes(saved(**options))
    assert why_foreign(tmp_path / "file.pt") is None and read_checkpoint(tmp_path / "file.pt").keys() == layout().keys()


@pytest.mark.parametrize("length", [*range(0x20, 0x7F, 7), 0x7B])
def test_a_header_whose_length_reads_as_a_letter_is_no_text(tmp_path, length):
    """safetensors begins with the length of its header, and that may be the code of '{'."""
    made = save({"a": torch.ones(1)}, metadata={"x": ""})
    space = (length - made[0]) % 256
    header = made[8 : 8 + made[0]] + b" " * space
    path = tmp_path / "file.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + made[8 + made[0] :])
    assert path.read_bytes()[0] == length and why_foreign(path) is None
    assert read_safetensors(path)["a"].tolist() == [1.0]


def test_a_checkpoint_of_torch_where_safetensors_are_expected_is_said(tmp_path):
    (tmp_path / "file.safetensors").write_bytes(saved())
    with pytest.raises(WeightsError, match="not a readable safetensors file: is a zip file, as torch.save writes"):
        read_safetensors(tmp_path / "file.safetensors")


@pytest.mark.parametrize("kind", ["a web page", "JSON", "a pointer", "nothing", "gzip"])
def test_captions_and_pictures_are_called_what_they_are_too(cache, monkeypatch, capsys, kind):
    content, words = FOREIGN[kind]
    wanted = {"coco-captions": "captions", "coco-images": "a zip file of pictures"}
    for module in (prompts, weights):
        monkeypatch.setattr(module, "COCO_CAPTIONS", replace(prompts.COCO_CAPTIONS, sha256=None))
    for name, file in (("coco-captions", prompts.COCO_CAPTIONS), ("coco-images", prompts.COCO_PICTURES)):
        (cache / file.name).write_bytes(content)
        assert weights.main(["verify", name]) == 1
        assert words.replace("weights", wanted[name]) in capsys.readouterr().out
    assert not (cache / PINS).exists()
    with pytest.raises(WeightsError, match="not a zip file: it (is|begins)"):
        PicturesOnDisk(cache / prompts.COCO_PICTURES.name)


@pytest.mark.parametrize("kind", ["a web page", "JSON", "a pointer", "nothing", "gzip"])
@pytest.mark.parametrize("name", ["text_cond", "clip-vit-b-32"])
def test_where_a_hash_is_known_the_file_is_called_what_it_is_too(cache, kind, name):
    content, words = FOREIGN[kind]
    (cache / OFFICIAL[name].name).write_bytes(content)
    with pytest.raises(WeightsError, match="sha256 is .*altered or truncated: it (is|begins)") as refusal:
        load_official(name)
    assert words in str(refusal.value)
