"""Fewer bits by layer: float16, weight-only 8 and 4 bits, a precision for each group; on the embedded models."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from torch import nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.devices.heap import release_freed_memory
from suite.names import UnknownName
from suite.optimizations.arithmetic import precision
from suite.optimizations.arithmetic.mixed import InBfloat16, by_place, choose
from suite.optimizations.arithmetic.precision import cast
from suite.optimizations.arithmetic.weight_only import Int4Weight, Int8Weight, pack
from tests.techniques import (
    CPU,
    EMULATED_STEPS,
    MODELS,
    PROMPTS,
    distance,
    network_bytes,
    objects,
    pipeline,
    reference,
)

# Measured in November 2026, Point-E and Shap-E: float16 0.0003 and 0.0004, 8 bits 0.002 and 0.005, 4 bits 0.052 and
# 0.066, mixed 0.038 and 0.031, blocks in bfloat16 0.0008 and 0.0013.


SHORT = (PROMPTS[:1], EMULATED_STEPS)

# float16.


@pytest.mark.parametrize("model", MODELS)
def test_float16_stays_near_the_reference(model, monkeypatch):
    monkeypatch.setattr(precision, "has_float16", lambda: True)  # slow where it is not so, and the same numbers
    made = pipeline("fp16", model)
    assert {p.dtype for stage in made.diffusion for p in made.networks[stage].parameters()} == {torch.float16}
    assert 0 < distance(objects(made, *SHORT), reference(model, *SHORT)) < 0.01


def test_float16_is_unsupported_where_the_processor_lacks_it(monkeypatch):
    monkeypatch.setattr(precision, "has_float16", lambda: False)
    with pytest.raises(UnsupportedRecipe, match="no float16 arithmetic.*bf16 is its half precision"):
        pipeline("fp16")


def test_float16_is_not_asked_of_the_processor_on_a_gpu(monkeypatch):
    monkeypatch.setattr(precision, "has_float16", lambda: False)
    made = cast(pipeline(), torch.device("cuda"), dtype="float16", stages=("upsampler",))
    assert made.networks["upsampler"].dtype == torch.float16


# Weight-only.


@pytest.mark.parametrize(("recipe", "tolerance"), [("w8", 0.02), ("w4", 0.1)])
@pytest.mark.parametrize("model", MODELS)
def test_weight_only_stays_near_the_reference(model, recipe, tolerance):
    made = pipeline(recipe, model)
    left = [p for stage in made.diffusion for p in made.networks[stage].modules() if type(p) is nn.Linear]
    assert left == []
    assert 0 < distance(objects(made), reference(model)) < tolerance


@pytest.mark.parametrize(("recipe", "share"), [("w8", 0.35), ("w4", 0.25)])
def test_weight_only_storage_is_truly_smaller(recipe, share):
    made, before = pipeline(recipe), pipeline()
    for stage in made.diffusion:
        assert network_bytes(made.networks[stage]) < share * network_bytes(before.networks[stage])


def test_eight_bits_are_rounded_to_the_nearest_of_each_rows_levels():
    layer = nn.Linear(42, 16)
    layer.weight.data *= torch.logspace(-3, 3, 16)[:, None]
    made = Int8Weight(layer)
    assert made.levels.dtype == torch.int8 and made.levels.shape == (16, 42)
    step = layer.weight.abs().amax(1, keepdim=True) / 127
    assert ((made.weights() - layer.weight).abs() <= step / 2 * 1.001).all()
    x = torch.randn(5, 42)
    assert torch.equal(made(x), nn.functional.linear(x, made.weights(), layer.bias))


@pytest.mark.parametrize("width", [6, 32, 42, 96])
@pytest.mark.parametrize("group", [2, 16, 32])
def test_four_bits_are_two_a_byte_and_rounded_to_the_nearest_of_each_groups_levels(width, group):
    layer = nn.Linear(width, 8)
    made = Int4Weight(layer, group)
    groups = -(-width // group)
    assert made.pairs.dtype == torch.uint8 and made.pairs.shape == (8, groups, group // 2)
    assert made.weights().shape == (8, width)
    for k in range(groups):
        part = slice(k * group, (k + 1) * group)
        true, rounded = layer.weight[:, part], made.weights()[:, part]
        step = (true.amax(1) - true.amin(1)) / 15
        assert ((true - rounded).abs() <= step[:, None] / 2 * 1.001 + 1e-7).all()
        assert torch.allclose(rounded.amax(1), true.amax(1), atol=1e-6)
        assert torch.allclose(rounded.amin(1), true.amin(1), atol=1e-6)


@pytest.mark.parametrize("kind", [Int8Weight, Int4Weight])
def test_a_layer_of_zeros_and_one_without_bias_stay_so(kind):
    layer = nn.Linear(8, 4, bias=False)
    nn.init.zeros_(layer.weight)
    assert torch.equal(kind(layer)(torch.randn(3, 8)), torch.zeros(3, 4))


def test_packed_weights_follow_the_networks_type():
    layer = nn.Linear(64, 8).to(torch.bfloat16)
    for made in (Int8Weight(layer), Int4Weight(layer)):
        assert made(torch.randn(2, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("bits", [-1, 0, 3, 16])
def test_impossible_bits_are_answered_with_what_is_possible(bits):
    with pytest.raises(ValueError, match=f"bits: {bits} is not possible; 8 or 4"):
        pack(pipeline(), CPU, bits=bits)


@pytest.mark.parametrize("group", [-2, 0, 1, 33])
def test_impossible_groups_are_answered_with_what_is_possible(group):
    with pytest.raises(ValueError, match=f"group: {group} is not possible; an even number of weights, at least 2"):
        pack(pipeline(), CPU, bits=4, group=group)


# Mixed.


@pytest.mark.parametrize("model", MODELS)
def test_mixed_has_each_groups_precision_and_stays_near_the_reference(model):
    made = pipeline("mixed", model)
    kinds = {
        by_place(n, name): type(p) for s in made.diffusion for n in [made.networks[s]] for name, p in n.named_modules()
    }
    for name, kind in kinds.items():
        if kind in (Int8Weight, Int4Weight):
            assert "blocks." in name
            assert (kind is Int4Weight) == ("blocks.middle." in name)
    assert {Int8Weight, Int4Weight, nn.Linear} <= set(kinds.values())  # what is outside the blocks stays in float32
    assert 0 < distance(objects(made), reference(model)) < 0.06


def test_a_layer_gets_the_precision_of_the_last_pattern_that_it_matches():
    layers = {"backbone.*": "w4", "*resblocks.[12].*": "bf16", "*resblocks.last.mlp.c_fc": "fp32"}
    base = choose(pipeline(), CPU, layers=layers, stages=("base diffusion",)).networks["base diffusion"]
    assert type(base.backbone.resblocks[0].attn.c_qkv) is Int4Weight
    assert type(base.backbone.resblocks[1].attn.c_qkv) is InBfloat16
    assert type(base.backbone.resblocks[3].mlp.c_fc) is nn.Linear
    assert type(base.backbone.resblocks[3].mlp.c_proj) is Int4Weight
    assert type(base.input_proj) is nn.Linear


def test_blocks_in_bfloat16_between_others_in_float32_stay_near_the_reference():
    made = choose(pipeline(), CPU, layers={"*blocks.*": "bf16"})
    assert 0 < distance(objects(made, *SHORT), reference(MODELS[0], *SHORT)) < 0.02


def test_a_pattern_that_matches_nothing_is_answered_with_the_nearest_layers():
    with pytest.raises(
        UnknownName,
        match=r"layers: unknown pattern 'backbone\.resblock\.1\.attn\.c_qkv'; nearest: .*backbone\.resblocks",
    ):
        choose(pipeline(), CPU, layers={"*blocks.*": "w8", "backbone.resblock.1.attn.c_qkv": "w4"})


def test_an_unknown_precision_of_a_group_is_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match="unknown precision 'w9'; nearest: w8, w4"):
        choose(pipeline(), CPU, layers={"*": "w9"})
    with pytest.raises(ValueError, match="changes nothing; one pattern or more, each with one of fp32, bf16, w8, w4"):
        choose(pipeline(), CPU, layers={})


# Memory.


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no malloc_trim")
def test_what_was_freed_between_other_memory_is_handed_back():
    blocks = [torch.ones(16_384) for _ in range(2_000)]  # 64 KiB each: too small for mappings of their own
    kept, before = blocks[::8], resident_bytes()
    del blocks
    release_freed_memory()
    assert before - resident_bytes() > 0.5 * 2_000 * 65_536
    assert len(kept) == 250
