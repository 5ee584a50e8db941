"""Dynamic int8 by other engines and by torchao, and SmoothQuant before it; on the embedded models."""

from __future__ import annotations

import builtins
import importlib.util
import platform
import re

import pytest
import torch
from torch import nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.optimizations.arithmetic import simulated_integers, smooth_quant
from suite.optimizations.arithmetic.dynamic_int8 import quantize as dynamic
from suite.optimizations.arithmetic.simulated_integers import quantize as simulate
from suite.optimizations.arithmetic.smooth_quant import Smoothed, fed_by_norms, scales, smooth
from suite.optimizations.arithmetic.torchao_int8 import fits
from tests.techniques import (
    CPU,
    MODELS,
    MORE,
    PROMPTS,
    calibrate_briefly,
    distance,
    engine_or_skip,
    objects,
    pipeline,
    reference,
)

# Measured in November 2026 on AVX-512 with VNNI, Point-E and Shap-E: fbgemm 0.036 and 0.016, onednn 0.031 and 0.016,
# qnnpack (its x86 kernels) 0.028 and 0.012, torchao 0.030 and 0.008, SmoothQuant before fbgemm 0.029 and 0.016.


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch):
    calibrate_briefly(monkeypatch)


_RANGES: dict[tuple, list] = {}


@pytest.fixture(autouse=True)
def ranges_that_are_found_once(short_calibration, monkeypatch):
    """Those of the same networks on the same prompts, which a dozen tests ask for: three seconds each."""
    find_them = smooth_quant.input_ranges

    def ranges(made, layers) -> dict[nn.Linear, torch.Tensor]:
        layers = list(layers)
        shapes = (made.model, *(layer.weight.shape for layer in layers))
        if shapes not in _RANGES:
            found = find_them(made, layers)
            _RANGES[shapes] = [found.get(layer) for layer in layers]
        return {layer: most for layer, most in zip(layers, _RANGES[shapes]) if most is not None}

    monkeypatch.setattr(smooth_quant, "input_ranges", ranges)


# Engines.


@pytest.mark.parametrize("engine", ["onednn", "qnnpack"])
@pytest.mark.parametrize("model", MODELS)
def test_the_engines_for_arm_stay_near_the_reference(model, engine, monkeypatch):
    engine_or_skip(engine)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")  # the engine runs here as well, and as exactly
    made = dynamic(pipeline(model=model), CPU, engine=engine)
    assert torch.backends.quantized.engine == engine
    assert 0 < distance(objects(made), reference(model)) < 0.04


def test_qnnpack_is_unsupported_on_x86_and_names_what_is_for_it(monkeypatch):
    engine_or_skip("qnnpack")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(
        UnsupportedRecipe, match="for ARM processors, and this is x86_64; int8-fbgemm-linear is for x86"
    ):
        pipeline("int8-qnnpack-linear")


# torchao.


def test_torchao_stays_near_the_reference():
    if importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed: the extra `torchao`")
    for model in MODELS:
        made = pipeline("int8-torchao-linear", model)
        layers = [p for s in made.diffusion for n, p in made.networks[s].named_modules() if fits(p, n)]
        assert layers and not any(type(layer.weight) is nn.Parameter for layer in layers)
        assert 0 < distance(objects(made), reference(model)) < 0.04


def test_without_torchao_the_recipe_is_unsupported_and_names_the_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **named):
        if name.split(".")[0] == "torchao":
            raise ImportError("No module named 'torchao'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        UnsupportedRecipe, match=re.escape("the extra `torchao` brings it: pip install -e '.[torchao]'")
    ):
        pipeline("int8-torchao-linear")


def test_layers_of_odd_widths_stay_as_they_are():
    assert fits(nn.Linear(128, 96), "") and not fits(nn.Linear(6, 96), "") and not fits(nn.Linear(96, 6), "")
    assert not fits(nn.LayerNorm(8), "")


# SmoothQuant.


@pytest.mark.parametrize("model", MODELS)
def test_smoothing_alone_changes_nothing(model):
    assert distance(objects(pipeline("smoothquant", model)), reference(model)) < 0.001


@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0])
def test_any_alpha_changes_nothing(alpha):
    assert distance(objects(smooth(pipeline(), CPU, alpha=alpha)), reference()) < 0.001


@pytest.mark.parametrize("model", MODELS)
def test_int8_behind_it_stays_near_the_reference(model):
    engine_or_skip()
    made = pipeline("smoothquant+int8-fbgemm-linear", model)
    smoothed = [p for s in made.diffusion for p in made.networks[s].modules() if isinstance(p, Smoothed)]
    assert smoothed and not any(type(part.layer) is nn.Linear for part in smoothed)
    assert 0 < distance(objects(made, MORE), reference(model, MORE)) < 0.04


def test_onednn_behind_it_keeps_the_division():
    assert distance(objects(pipeline("smoothquant+onednn")), reference()) < 0.001


def test_inputs_and_weights_of_a_layer_reach_equally_far_with_alpha_one_half():
    layer = nn.Linear(16, 8)
    most = torch.logspace(-2, 2, 16)
    s = scales(most, [layer], 0.5)
    assert torch.allclose(most / s, layer.weight.abs().amax(0) * s)


def test_outliers_of_an_input_no_longer_cost_the_others_their_levels():
    """What the technique is for: one channel a hundred times as large, eight bits for all, one scale a tensor."""
    torch.manual_seed(0)
    x = torch.randn(256, 64) * torch.where(torch.arange(64) == 7, 100.0, 1.0)
    layer = nn.Linear(64, 32)

    def error(x: torch.Tensor, weight: torch.Tensor) -> float:
        reach = x.abs().amax().item()
        rounded = simulated_integers.round_activations(x, -reach, reach, 8)
        made = rounded @ simulated_integers.round_weights(weight, 8).T
        return (made - x @ weight.T).square().mean().sqrt().item()

    s = scales(x.abs().amax(0), [layer], 0.5)
    assert error(x / s, layer.weight.detach() * s) < error(x, layer.weight.detach()) / 2


def test_a_channel_that_carries_nothing_keeps_its_scale():
    layer = nn.Linear(4, 4)
    s = scales(torch.tensor([0.0, 1.0, 2.0, 3.0]), [layer], 0.5)
    assert s[0] == 1 and s.isfinite().all() and (s > 0).all()


@pytest.mark.parametrize(("model", "stage"), [(MODELS[0], "base diffusion"), (MODELS[1], "latent diffusion")])
def test_layers_behind_a_norm_have_the_division_folded_into_it_and_others_make_it(model, stage):
    before, after = pipeline(model=model).networks[stage], pipeline("smoothquant", model).networks[stage]
    behind = [layer for _, fed in fed_by_norms(after) for layer in fed]
    blocks = 4
    assert len(behind) == blocks * (2 if stage == "base diffusion" else 4)
    wrapped = {part.layer for part in after.modules() if isinstance(part, Smoothed)}
    assert wrapped and not wrapped & set(behind)
    for (norm, _), (old, _) in zip(fed_by_norms(after), fed_by_norms(before), strict=True):
        assert not torch.equal(norm.weight, old.weight)


def test_norms_without_weights_are_left_alone_and_their_layers_divide():
    upsampler = pipeline("smoothquant").networks["upsampler"]
    assert type(upsampler.blocks[0].c_q) is Smoothed and type(upsampler.blocks[0].mlp.c_fc) is Smoothed
    assert type(upsampler.context_blocks[0].attn.c_qkv) is nn.Linear  # a norm with weights feeds it


def test_static_ranges_behind_it_are_those_of_the_smoothed_inputs():
    both = simulate(smooth(pipeline(), CPU), CPU, weight_bits=8, activation_bits=8)
    assert 0 < distance(objects(both), reference()) < 0.05


def test_smoothing_chosen_stages_leaves_the_others_alone():
    made = smooth(pipeline(), CPU, stages=("base diffusion",))
    assert not any(isinstance(part, Smoothed) for part in made.networks["upsampler"].modules())
    assert any(isinstance(part, Smoothed) for part in made.networks["base diffusion"].modules())


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_an_impossible_alpha_is_answered_with_what_is_possible(alpha):
    with pytest.raises(ValueError, match=f"alpha: {alpha} is not possible; 0 to 1"):
        smooth(pipeline(), CPU, alpha=alpha)


def test_smoothing_does_not_depend_on_the_prompts_that_are_scored():
    assert not set(PROMPTS) & set(simulated_tuning())


def simulated_tuning() -> list[str]:
    import json

    return json.loads(simulated_integers.GALLERY.read_text())["tuning"][: simulated_integers.CALIBRATION_PROMPTS]
