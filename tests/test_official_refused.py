"""What is no checkpoint, or not the one that was published: refused in words, and never pinned."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import warnings

import pytest
import torch
from safetensors.torch import save_file

from suite.models.checkpoints.convert import note_path, read_checkpoint
from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.official import load_official
from suite.models.checkpoints.official_files import OFFICIAL, OfficialFile
from suite.models.checkpoints.pins import PINS, read_pins
from tests.official_cases import NAME, Hostile, any_layout, checkpoint, equal, layout, published_as  # noqa: F401

pytestmark = pytest.mark.usefixtures("any_layout")


@pytest.mark.parametrize("damage", ["altered", "truncated", "emptied", "longer"])
def test_a_damaged_file_is_refused_by_its_hash(cache, monkeypatch, damage):
    path = cache / f"{NAME}.pt"
    published_as(monkeypatch, checkpoint(path))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-100], "emptied": b"", "longer": whole + b"\0"}.get(damage, content))
    with pytest.raises(WeightsError, match=f"{NAME}.pt: sha256 is .*published.*altered or truncated"):
        load_official(NAME)
    assert not (cache / "converted").exists()


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -100])
def test_a_truncated_file_that_no_hash_is_known_for_is_refused_and_not_pinned(cache, cut):
    path = cache / f"{NAME}.pt"
    checkpoint(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=f"{NAME}.pt: refused: "):
        load_official(NAME)
    assert read_pins(cache) == {}


def test_a_source_that_changed_after_its_conversion_is_refused(cache):
    path = cache / f"{NAME}.pt"
    checkpoint(path)
    load_official(NAME)
    checkpoint(path, layout(seed=1))
    with pytest.raises(WeightsError, match=f"sha256 is .*pinned in {re.escape(str(cache / PINS))}"):
        load_official(NAME)


def test_a_source_that_was_only_touched_is_good(cache):
    path = cache / f"{NAME}.pt"
    checkpoint(path)
    load_official(NAME)
    os.utime(path, (1, 1))
    assert equal(load_official(NAME)[0], layout())


@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_an_altered_conversion_is_refused(cache, damage):
    checkpoint(cache / f"{NAME}.pt")
    load_official(NAME)
    (converted,) = (cache / "converted").glob("*.safetensors")
    content = bytearray(converted.read_bytes())
    content[-5] ^= 1
    converted.write_bytes(content if damage == "altered" else content[:-5])
    with pytest.raises(WeightsError, match=f"{converted.name}: sha256 is .*delete it to convert it again"):
        load_official(NAME)
    converted.unlink()
    assert equal(load_official(NAME)[0], layout())


def test_a_conversion_that_was_interrupted_is_made_again(cache):
    checkpoint(cache / f"{NAME}.pt")
    load_official(NAME)
    (converted,) = (cache / "converted").glob("*.safetensors")
    note_path(converted).unlink()
    converted.write_bytes(b"half")
    assert equal(load_official(NAME)[0], layout())
    assert json.loads(note_path(converted).read_text())["sha256"] == hashlib.sha256(converted.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["zip", "old", "plain pickle"])
def test_a_checkpoint_that_brings_code_is_refused_and_runs_none(cache, tmp_path, kind):
    path, mark = cache / f"{NAME}.pt", tmp_path / "ran"
    state = layout() | {"extra": Hostile(mark)}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(state["extra"], protocol=2))
    else:
        checkpoint(path, state, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=rf"{NAME}.pt: refused: it asks to run code \(\w+.mkdir\)"):
        load_official(NAME)
    assert not mark.exists() and read_pins(cache) == {} and not (cache / "converted").exists()
    torch.load(path, weights_only=False) if kind != "plain pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have


@pytest.mark.filterwarnings("ignore:.*TorchScript archive:UserWarning")
def test_a_torchscript_archive_is_refused(cache):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), cache / f"{NAME}.pt")
    with pytest.raises(WeightsError, match="refused: .*TorchScript"):
        load_official(NAME)


@pytest.mark.parametrize("state", [[1, 2], {}, {"a": 3}, {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}])
def test_anything_but_tensors_by_name_is_refused(tmp_path, state):
    checkpoint(tmp_path / "file.pt", state)
    with pytest.raises(WeightsError, match="file.pt: refused: "):
        read_checkpoint(tmp_path / "file.pt")


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    """Four bytes that would be written out as four terabytes."""
    checkpoint(tmp_path / "file.pt", {"bomb": torch.ones(1).expand(2**20, 2**20)})
    with pytest.raises(WeightsError, match="'bomb' claims more"):
        read_checkpoint(tmp_path / "file.pt")


def test_one_stretch_of_the_file_under_many_names_is_refused(tmp_path):
    """A megabyte that would be written out as thirty."""
    ones = torch.ones(250_000)
    checkpoint(tmp_path / "file.pt", {f"a{k}": ones for k in range(30)})
    with pytest.raises(WeightsError, match="claim more numbers together than the file holds"):
        read_checkpoint(tmp_path / "file.pt")


NO_WEIGHTS = {
    "sparse": lambda: {"a": torch.eye(3).to_sparse()},
    "without data": lambda: {"a": torch.empty(3, device="meta")},
    "nested": lambda: {"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])},
    "complex": lambda: {"a": torch.ones(2, dtype=torch.complex128)},
    "name of the header": lambda: {"__metadata__": torch.ones(2)},
    "name of half a letter": lambda: {"a\ud800": torch.ones(2)},
}


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_tensors_that_no_weights_are_made_of_are_refused_and_not_pinned(cache, kind):
    """torch reads them; what comes after would not, with the file's hash pinned by then."""
    checkpoint(cache / f"{NAME}.pt", NO_WEIGHTS[kind]())
    with pytest.raises(WeightsError, match=f"{NAME}.pt: refused: "):
        load_official(NAME)
    assert read_pins(cache) == {} and not (cache / "converted").exists()


def test_published_safetensors_are_read_as_they_are(cache, monkeypatch):
    path = cache / "clip-vit-b-32.safetensors"
    save_file(layout(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match="published"):
        load_official("clip-vit-b-32")
    file = OFFICIAL["clip-vit-b-32"]
    monkeypatch.setitem(
        OFFICIAL, "clip-vit-b-32", OfficialFile(name=file.name, url=file.url, source="a test", sha256=digest)
    )
    assert equal(load_official("clip-vit-b-32")[0], layout()) and load_official("clip-vit-b-32")[1] == digest
    assert not (cache / "converted").exists()
