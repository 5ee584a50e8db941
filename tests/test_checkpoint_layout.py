"""Nothing is pinned before its keys and shapes are those of the network that it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from suite import weights
from suite.models.checkpoints import layout as layouts
from suite.models.checkpoints.embedded import WeightsError, sha256_of
from suite.models.checkpoints.layout import LAYOUTS, misfit, misfits
from suite.models.checkpoints.official import accept_checkpoint, fetch, load_official
from suite.models.checkpoints.official_files import OFFICIAL
from suite.models.checkpoints.pins import PINS, read_pins
from suite.models.shap_e.full_size import PUBLISHED
from suite.names import resolve
from tests.official_cases import checkpoint, layout
from tests.shap_e_cases import decoder_shapes, prior_shapes
from tests.web import Page, serving

EVERY = pytest.mark.parametrize("name", OFFICIAL)
POINT_E = [name for name, file in OFFICIAL.items() if file.sha256 is None]


def expected(name: str) -> dict[str, torch.Tensor]:
    return resolve(LAYOUTS[name])(name)


def write(path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, path) if ".safetensors" in path.name else torch.save(state, path)


@pytest.fixture
def small(monkeypatch) -> dict[str, torch.Tensor]:
    """A small network stands for the SDF's; its tensors."""
    monkeypatch.setitem(LAYOUTS, "sdf", "tests.official_cases:small_layout")
    return layout()


# What is expected.


@EVERY
def test_every_published_file_has_a_layout_and_is_its_own(name):
    assert misfit(OFFICIAL[name], expected(name)) == ""


def test_networks_of_different_files_are_told_apart():
    same = {"base_40m_textvec", "base_40m_imagevec"}  # one network, trained on vectors of texts and of pictures
    states = {name: expected(name) for name in OFFICIAL}
    for name, state in states.items():
        fits = {other for other in OFFICIAL if not misfits(states[other], state)}
        assert fits == (same if name in same else {name}), name


@pytest.mark.parametrize(("name", "pictures"), [("text_cond", False), ("image_cond", True)])
def test_shap_es_layouts_are_those_of_its_checkpoints(name, pictures):
    assert {key: tuple(value.shape) for key, value in expected(name).items()} == prior_shapes(pictures, PUBLISHED)


def test_shap_es_decoder_is_part_of_its_transmitter():
    shapes = decoder_shapes(PUBLISHED)
    assert {key: tuple(value.shape) for key, value in expected("vector_decoder").items()} == shapes
    whole = expected("transmitter") | {"encoder.anything": torch.zeros(1)}
    assert misfit(OFFICIAL["transmitter"], whole) == ""
    assert set(expected("transmitter")) == {key for key in shapes if key.startswith("renderer.")}


# What is refused.


@EVERY
def test_another_networks_tensors_are_refused_by_the_file_the_keys_and_the_shapes(name, tmp_path):
    """Where no hash is published; a published one refuses them before."""
    file, path = replace(OFFICIAL[name], sha256=None), tmp_path / OFFICIAL[name].name
    key, value = next(iter(expected(name).items()))
    write(path, {key: torch.ones(*value.shape, 2), "backbone.weight": torch.ones(5, 4)})
    with pytest.raises(WeightsError) as refusal:
        accept_checkpoint(file, path)
    words = str(refusal.value)
    assert words.startswith(f"{path}: refused: not the network {file.network or name}: missing ")
    assert f"{key} is {[*value.shape, 2]}, expected {[*value.shape]}" in words and len(words) < 1000


@pytest.mark.parametrize("name", POINT_E)
def test_what_is_refused_is_not_pinned_whoever_asks(name, cache, monkeypatch, capsys):
    path = cache / OFFICIAL[name].name
    checkpoint(path, {"backbone.weight": torch.ones(512, 64)})
    refused = f"{path}: refused: not the network"
    with pytest.raises(WeightsError, match=refused):
        load_official(name)
    with pytest.raises(WeightsError, match=refused):  # what lies there is not taken for a download either
        fetch(OFFICIAL[name])
    assert weights.main(["verify", name]) == 1 and refused in capsys.readouterr().out
    content = path.read_bytes()
    path.unlink()
    with serving(file=Page(content)) as url:
        monkeypatch.setitem(OFFICIAL, name, replace(OFFICIAL[name], url=f"{url}/file"))
        with pytest.raises(WeightsError, match="refused: not the network"):
            fetch(OFFICIAL[name])
    assert not path.exists() and not (cache / PINS).exists() and not (cache / "converted").exists()


@pytest.mark.parametrize("change", ["one is lost", "one is added", "one is turned", "one is of integers"])
def test_one_tensor_is_enough(cache, small, change):
    key, value = next(iter(small.items()))
    changed = {
        "one is lost": {other: v for other, v in small.items() if other != key},
        "one is added": small | {"more": value},
        "one is turned": small | {key: value.T.contiguous()},
        "one is of integers": small | {key: value.long()},
    }[change]
    checkpoint(cache / "sdf.pt", changed)
    with pytest.raises(WeightsError, match=f"sdf.pt: refused: not the network sdf: .*({key}|more)"):
        load_official("sdf")
    checkpoint(cache / "sdf.pt", small)
    assert load_official("sdf")[1] == read_pins(cache)["sdf.pt"]


def test_half_precision_is_the_same_network(cache, small):
    checkpoint(cache / "sdf.pt", {key: value.half() for key, value in small.items()})
    assert load_official("sdf")[0]["ln_pre.bias"].dtype == torch.float16


# A hash that was pinned to a wrong file.


def test_a_refusal_says_how_to_unpin_and_that_is_so(cache, small, capsys):
    checkpoint(cache / "sdf.pt", small)
    load_official("sdf")
    right = checkpoint(cache / "sdf.pt", layout(seed=1))
    with pytest.raises(WeightsError, match=r"sha256 is .*, expected .*: `python -m suite.weights unpin sdf.pt`"):
        load_official("sdf")
    with pytest.raises(WeightsError, match="suite.weights unpin sdf.pt`"):
        fetch(OFFICIAL["sdf"])
    assert weights.main(["unpin", "sdf.pt"]) == 0 and "no longer pinned" in capsys.readouterr().out
    assert load_official("sdf")[1] == right and read_pins(cache) == {"sdf.pt": right}


def test_what_an_earlier_release_pinned_wrongly_is_refused_with_the_same_words(cache, small, monkeypatch):
    checkpoint(cache / "sdf.pt", {"another": torch.ones(3)})
    with monkeypatch.context() as earlier:
        earlier.setattr(layouts, "LAYOUTS", {})
        load_official("sdf")
    for gone in (False, True):  # with the checkpoint, and with what was made of it alone
        with pytest.raises(WeightsError, match="not the network sdf: missing .*its hash is pinned: .*unpin sdf.pt`"):
            load_official("sdf")
        (cache / "sdf.pt").unlink(missing_ok=gone)


def test_pins_that_came_along_are_unpinned_where_they_lie(cache, small, tmp_path, monkeypatch):
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("TEXT3D_WEIGHTS_DIR", str(given))
    checkpoint(given / "sdf.pt", small)
    (given / PINS).write_text('{"sdf.pt": "0000"}')
    with pytest.raises(WeightsError, match=f"delete its line in {given / PINS}"):
        load_official("sdf")


def test_unpinning_is_by_model_too_and_says_what_was_not_pinned(cache, capsys):
    (cache / PINS).write_text('{"sdf.pt": "00", "openai/shap-e/prior": "11", "base_40m.pt": "22"}')
    assert weights.main(["unpin", "point-e-40m-text", "text_cond"]) == 0
    said = capsys.readouterr().out
    assert read_pins(cache) == {"base_40m.pt": "22"} and "upsample_40m.pt: nothing is pinned" in said
    assert weights.main(["unpin", "nothing"]) == 2
    assert "unknown model or file" in capsys.readouterr().err


# A conversion that somebody brought.


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_a_forged_conversion_is_not_loaded_under_the_checkpoints_hash(
    cache, small, tmp_path, monkeypatch, with_checkpoint
):
    digest = checkpoint(cache / "sdf.pt", small)
    load_official("sdf")
    given = tmp_path / "given"
    cache.rename(given)
    monkeypatch.setenv("TEXT3D_WEIGHTS_DIR", str(given))
    (forged,) = (given / "converted").glob("*.safetensors")
    note = forged.with_name(f"{forged.name}.json")
    before = sha256_of(forged)
    save_file(layout(seed=1), forged)
    note.write_text(note.read_text().replace(before, sha256_of(forged)))
    if not with_checkpoint:
        (given / "sdf.pt").unlink()
    state, found = load_official("sdf")
    genuine = torch.equal(state["ln_pre.bias"], small["ln_pre.bias"])
    assert (genuine, found) == ((True, digest) if with_checkpoint else (False, sha256_of(forged)))


def test_a_brought_conversion_of_another_network_is_refused(cache, small, tmp_path, monkeypatch):
    checkpoint(cache / "sdf.pt", small)
    load_official("sdf")
    (cache / "sdf.pt").unlink()
    given = tmp_path / "given"
    cache.rename(given)
    monkeypatch.setenv("TEXT3D_WEIGHTS_DIR", str(given))
    (forged,) = (given / "converted").glob("*.safetensors")
    note = forged.with_name(f"{forged.name}.json")
    before = sha256_of(forged)
    save_file({"a": torch.ones(1)}, forged)
    note.write_text(note.read_text().replace(before, sha256_of(forged)))
    with pytest.raises(WeightsError, match=f"{forged.name}: refused: not the network sdf"):
        load_official("sdf")
