"""Weights files are known by their hash, and refused in plain words when they are not what they should be."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from suite.models.checkpoints.embedded import EMBEDDED, HASHES, WeightsAbsent, WeightsError, load_embedded, sha256_of
from suite.models.checkpoints.stored_int8 import packed, unpacked

NAME = "clip-nano"
COMMITTED = json.loads(HASHES.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EMBEDDED / f"{NAME}.safetensors", tmp_path)
    shutil.copy(HASHES, tmp_path)
    return tmp_path


def test_every_committed_weights_file_matches_its_hash_and_every_hash_has_its_file():
    files = {path.stem for path in EMBEDDED.glob("*.safetensors")}
    assert files == set(COMMITTED) != set()
    for name in files:
        assert hashlib.sha256((EMBEDDED / f"{name}.safetensors").read_bytes()).hexdigest() == COMMITTED[name], name


def test_every_committed_file_is_found_by_name_and_gives_finite_tensors():
    for name, digest in COMMITTED.items():
        tensors, found = load_embedded(name)
        assert found == digest
        assert tensors and all(tensor.isfinite().all() for tensor in tensors.values())


def test_an_untouched_copy_loads(folder):
    assert load_embedded(NAME, folder)[1] == COMMITTED[NAME]


@pytest.mark.parametrize("damage", ["altered", "truncated", "emptied", "longer"])
def test_a_damaged_file_is_refused_with_its_path_and_both_hashes(folder, damage):
    path = folder / f"{NAME}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncated": content[:-1000], "emptied": b"", "longer": content + b"\0"}.get(damage, content))
    with pytest.raises(WeightsError) as refusal:
        load_embedded(NAME, folder)
    for part in (str(path), COMMITTED[NAME], sha256_of(path)):
        assert part in str(refusal.value)
    assert not isinstance(refusal.value, WeightsAbsent)


def test_another_networks_file_under_this_name_is_refused(folder):
    path = folder / f"{NAME}.safetensors"
    shutil.copy(EMBEDDED / "point-e-nano-text.safetensors", path)
    with pytest.raises(WeightsError, match="expected"):
        load_embedded(NAME, folder)


def test_an_absent_file_says_where_it_was_looked_for_and_how_to_get_it(folder):
    path = folder / f"{NAME}.safetensors"
    path.unlink()
    with pytest.raises(WeightsAbsent) as refusal:
        load_embedded(NAME, folder)
    assert str(path) in str(refusal.value)
    assert f"python -m suite.training.train {NAME}" in str(refusal.value)


def test_a_name_that_no_hash_is_pinned_for_is_refused(folder):
    shutil.copy(folder / f"{NAME}.safetensors", folder / "stranger.safetensors")
    with pytest.raises(WeightsError, match="stranger"):
        load_embedded("stranger", folder)


@pytest.mark.parametrize("hashes", [None, "{", "[]"])
def test_absent_or_broken_hashes_are_a_weights_error_that_names_the_file(folder, hashes):
    (folder / HASHES.name).unlink() if hashes is None else (folder / HASHES.name).write_text(hashes)
    with pytest.raises(WeightsError, match=HASHES.name):
        load_embedded(NAME, folder)


@pytest.mark.parametrize("seed", range(20))
def test_a_state_in_8_bits_is_the_nearest_that_a_scale_a_row_allows(seed):
    state = {
        "linear.weight": torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))
        * torch.tensor([[1e-3], [1.0], [3.0], [0.0], [1e2]]),
        "bias": torch.randn(5),
    }
    stored = packed(state)
    assert {name: value.dtype for name, value in stored.items()} == {
        "linear.weight": torch.int8,
        "linear.weight.scale": torch.float16,
        "bias": torch.float16,
    }
    back = unpacked(stored)
    assert list(back) == list(state)
    step = state["linear.weight"].abs().amax(1, keepdim=True) / 127
    # Half a step, and what half precision does to the scale, 127 times: 2^-11 of it, and 2^-25 where it is small.
    most = step * (0.5 + 127 * 2**-11) + 127 * 2**-25
    assert ((back["linear.weight"] - state["linear.weight"]).abs() <= most).all()
    assert torch.equal(back["bias"], state["bias"].half().float())
