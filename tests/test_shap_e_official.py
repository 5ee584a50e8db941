"""Shap-E at its published size: sizes, layouts, where weights come from, and the recipe on narrow networks."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from suite.models.checkpoints import official
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError, sha256_of
from suite.models.checkpoints.networks import FullSizeWeights, loaded_network
from suite.models.checkpoints.pins import read_pins
from suite.models.conditioning.full_size import Condition
from suite.models.shap_e import full_size as shap_e_official
from suite.models.shap_e.full_size import (
    PUBLISHED,
    assemble,
    build_image,
    build_prior,
    build_renderer,
    build_text,
    grid_of,
    network,
    official_state,
)
from suite.models.shap_e.layouts import from_prior, from_renderer, to_prior, to_renderer
from tests.shap_e_cases import CPU, NARROW, condition, decoder_state, our_pipeline, prior_shapes, prior_state

LATENT_STATISTICS = 2 * 2048  # diffusers' mean and deviation, which OpenAI's networks do without
BOTH = pytest.mark.parametrize("pictures", [False, True], ids=["text", "image"])


# Sizes.


@pytest.mark.parametrize(("pictures", "parameters"), [(False, 315_692_032), (True, 315_956_224)])
def test_the_diffusion_networks_have_the_published_number_of_parameters(pictures, parameters):
    with torch.device("meta"):
        prior = build_prior(pictures)
    assert sum(p.numel() for p in prior.parameters()) == parameters + LATENT_STATISTICS
    shapes = prior_shapes(pictures, PUBLISHED).values()
    assert sum(torch.Size(shape).numel() for shape in shapes) == parameters


def test_the_decoder_has_the_published_number_of_parameters():
    with torch.device("meta"):
        renderer = build_renderer()
    projected = 256 * 93 + 3 * 256 * 256  # in OpenAI's count no parameters, since latents replace them
    assert sum(p.numel() for p in renderer.parameters()) == 226_076_870 + projected


# Layouts.


@BOTH
def test_a_checkpoint_goes_over_into_diffusers_layout_and_back(pictures):
    state = prior_state(pictures)
    back = from_prior(to_prior(state, NARROW.heads), NARROW.heads)
    assert set(back) == set(state) and all(torch.equal(back[key], state[key]) for key in state)


def test_a_decoder_goes_over_into_diffusers_layout_and_back():
    state = decoder_state()
    back = from_renderer(to_renderer(state))
    assert set(back) == set(state) and all(torch.equal(back[key], state[key]) for key in state)


def test_queries_keys_and_values_are_taken_apart_by_head():
    state = prior_state(False)
    key = "wrapped.backbone.resblocks.0.attn.c_qkv.bias"
    rows = torch.arange(3 * NARROW.heads * 64.0)
    made = to_prior(state | {key: rows}, NARROW.heads)
    for n, name in enumerate("qkv"):
        head_1 = made[f"transformer_blocks.0.attn1.to_{name}.bias"][64:128]
        assert torch.equal(head_1, rows[192 + 64 * n : 256 + 64 * n])


@pytest.mark.parametrize(
    "key", ["wrapped.backbone.resblocks.0.attn.c_v.weight", "wrapped.clip.weight", "input_proj.weight"]
)
def test_a_key_without_a_place_is_named(key):
    with pytest.raises(WeightsError, match=re.escape(repr(key.removeprefix("wrapped.")))):
        to_prior(prior_state(False) | {key: torch.zeros(1)}, NARROW.heads)


def test_a_decoders_key_without_a_place_is_named():
    with pytest.raises(WeightsError, match="encoder"):
        to_renderer(decoder_state() | {"encoder.params_proj.weight": torch.zeros(1)})


@pytest.mark.parametrize("lost", ["wrapped.ln_pre.weight", "wrapped.backbone.resblocks.2.ln_2.bias"])
def test_a_checkpoint_that_lacks_a_tensor_is_refused(lost):
    state = {key: value for key, value in prior_state(False).items() if key != lost}
    with pytest.raises(WeightsError, match="missing norm_in.weight|missing transformer_blocks.2.norm3.bias"):
        loaded_network(lambda: build_prior(False, NARROW), to_prior(state, NARROW.heads), CPU)


def test_the_other_conditionings_checkpoint_is_refused():
    with pytest.raises(WeightsError, match="unknown embedding_proj_norm.bias.*size mismatch: embedding_proj.weight"):
        loaded_network(lambda: build_prior(False, NARROW), to_prior(prior_state(True), NARROW.heads), CPU)


# Where weights come from.


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(shap_e_official, "PUBLISHED", NARROW)


def absent(name):
    raise WeightsAbsent(f"{name} is not on this machine")


def test_official_weights_are_converted_from_openais_file(narrow, monkeypatch):
    given = {"text_cond": prior_state(False), "vector_decoder": decoder_state()}
    monkeypatch.setattr(official, "load_official", lambda name: (given[name], f"hash of {name}"))
    source = FullSizeWeights("official", CPU)
    prior = network(source, "text_cond", lambda: build_prior(False, NARROW))
    renderer = network(source, "vector_decoder", lambda: build_renderer(NARROW), dtype=torch.float32)
    assert source.digests == ["hash of text_cond", "hash of vector_decoder"]
    assert torch.equal(prior.norm_in.weight, given["text_cond"]["wrapped.ln_pre.weight"])
    assert torch.equal(renderer.mlp.mlp[6].bias, given["vector_decoder"]["renderer.nerstf.mlp.6.bias"])
    assert not any(p.requires_grad for p in prior.parameters()) and not prior.training


def test_else_diffusers_file_in_the_cache_is_read_with_its_hash(narrow, cache, monkeypatch, tmp_path):
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(to_renderer(decoder_state()) | {"mesh_decoder.cases": torch.zeros(256, 5, 3)}, path)
    monkeypatch.setattr(official, "load_official", absent)
    monkeypatch.setattr(official, "cached", lambda checkpoint: path)
    state, digest = official_state("vector_decoder")
    assert digest == sha256_of(path)
    loaded_network(lambda: build_renderer(NARROW), state, CPU)
    monkeypatch.setattr(official, "given_folder", lambda: tmp_path)  # the only place then
    with pytest.raises(WeightsAbsent, match="vector_decoder is not on this machine"):
        official_state("vector_decoder")


def test_diffusers_file_is_pinned_as_it_was_first_used_and_refused_when_it_is_another(
    narrow, cache, monkeypatch, tmp_path
):
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    monkeypatch.setattr(official, "load_official", absent)
    monkeypatch.setattr(official, "cached", lambda checkpoint: path)
    path.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="not a readable safetensors file: begins with '<html>': a web page"):
        official_state("text_cond")
    save_file(to_prior(prior_state(True), NARROW.heads), path)  # of the image network
    with pytest.raises(WeightsError, match="model.safetensors: refused: not the PriorTransformer .*unknown embedding"):
        official_state("text_cond")
    assert read_pins(cache) == {}
    save_file(to_prior(prior_state(False), NARROW.heads), path)
    digest = official_state("text_cond")[1]
    assert read_pins(cache) == {"openai/shap-e/prior": digest} == {"openai/shap-e/prior": sha256_of(path)}
    save_file({"a": torch.ones(3)}, path)
    with pytest.raises(WeightsError, match="altered or truncated.*suite.weights unpin openai/shap-e/prior"):
        official_state("text_cond")


def test_without_either_the_weights_are_absent(monkeypatch):
    monkeypatch.setattr(official, "load_official", absent)
    monkeypatch.setattr(official, "cached", lambda checkpoint: None)
    with pytest.raises(WeightsAbsent, match="text_cond is not on this machine"):
        official_state("text_cond")


@pytest.mark.parametrize("build", [build_text, build_image])
def test_other_kinds_of_weights_are_refused(build):
    with pytest.raises(ValueError, match="official or random weights, not 'embedded'"):
        build("embedded", CPU)


def random_network(pictures=False, dtype=torch.float32, seed=0):
    source = FullSizeWeights("random", CPU, dtype, seed)
    return network(source, "image_cond" if pictures else "text_cond", lambda: build_prior(pictures, NARROW)), source


def test_random_weights_follow_their_seed_and_are_made_in_their_type():
    (a, first), (b, second), (c, third) = random_network(), random_network(), random_network(seed=1)
    assert torch.equal(a.proj_in.weight, b.proj_in.weight) and first.sha256 == second.sha256
    assert not torch.equal(a.proj_in.weight, c.proj_in.weight) and first.sha256 != third.sha256
    assert {p.dtype for p in random_network(dtype=torch.bfloat16)[0].parameters()} == {torch.bfloat16}
    assert a.proj_to_clip_embeddings.weight.std() > 0  # the original's starts at 0


def random_pipeline(pictures: bool = False):
    prior, source = random_network(pictures)
    renderer = network(source, "vector_decoder", lambda: build_renderer(NARROW), dtype=torch.float32)
    made = assemble(
        "shap-e-300m-text",
        {"latent diffusion": prior, "mesh decoder": renderer},
        lambda prompts, sample, stage: condition(pictures, len(prompts)),
        CPU,
        guidance=15.0,
        size=NARROW,
    )
    made.steps, made.grid, made.ray_samples = 2, 32, (4, 8)
    return made


@BOTH
def test_a_random_pipeline_makes_meshes_as_smooth_as_an_objects_and_views(pictures):
    made = random_pipeline(pictures)
    before = torch.get_rng_state()
    mesh = made.generate(["a red cube"])[0]
    assert 500 < len(mesh.faces) < 32**3  # a surface, and not one in every cell
    assert mesh.vertices.abs().max() <= 1 and mesh.colours.std(dim=0).min() > 0
    views = made.extra("NeRF views", ["a red cube"])
    assert views.shape == (1, 20, 3, 64, 64) and 0 <= views.min() and views.max() <= 1 and views.std() > 0.01
    assert torch.equal(torch.get_rng_state(), before)


def test_the_recipe_is_the_originals():
    made = our_pipeline(pictures=True)
    assert (made.steps, made.evaluations, made.sigma_min, made.sigma_max) == (64, 127, 1e-3, 160)
    assert (made.prediction, made.clamp, made.grid, made.ray_samples) == ("x0", True, 128, (64, 128))


def test_a_surface_that_is_nowhere_is_an_empty_mesh():
    made = random_pipeline()
    made.networks["mesh decoder"].mlp.mlp[-1].bias[0] = -1e3
    assert made.generate(["a red cube"])[0].empty


def test_the_image_network_wants_a_picture():
    with pytest.raises(ValueError, match="no picture"):
        grid_of(Condition(torch.zeros(1, 768)))
