"""Attention with bfloat16 products, block by block: what it computes, and whose attention it takes the place of."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from suite.catalogue.optimizations import find_optimization
from suite.catalogue.recipes import ImpossibleComposition, UnsupportedRecipe
from suite.models.point_e.pipeline import NANO_TEXT, NANO_UPSAMPLER
from suite.optimizations.execution.block_attention import QUERIES, attend, in_blocks, use_blocks
from suite.optimizations.execution.compiled import why_absent
from tests.techniques import MODELS, distance, objects, pipeline, reference

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no products in bfloat16 for this processor"
)


@pytest.mark.parametrize("shape", [(2, 3, QUERIES + 5, 40, 16), (1, 2, 7, 2 * QUERIES, 32)])
def test_it_is_attention_whatever_the_lengths(shape):
    *outer, queries, keys, width = shape
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(*outer, queries, width, generator=generator)
    key, value = torch.randn(2, *outer, keys, width, generator=generator)
    expected = F.scaled_dot_product_attention(query, key, value)
    made = attend(query, key, value)
    assert made.dtype == torch.float32 and made.shape == expected.shape
    assert ((made - expected).norm() / expected.norm()).item() < 0.01


def test_what_is_added_to_every_query_alike_is_served_and_is_torchs_to_rounding(monkeypatch):
    from suite.optimizations.execution import block_attention

    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, QUERIES + 5, 16, generator=generator)
    bias = torch.zeros(1, 1, 1, QUERIES + 5)
    bias[..., 1] = 4.0
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    calls = []
    monkeypatch.setattr(block_attention, "attend", lambda *qkv: calls.append(None) or attend(*qkv))
    with in_blocks():
        made = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert calls and ((made - expected).norm() / expected.norm()).item() < 0.01
    plain = F.scaled_dot_product_attention(query, key, value)
    assert ((plain - expected).norm() / expected.norm()).item() > 0.1


def test_a_mask_and_another_scale_stay_with_torch():
    query, key, value = torch.randn(3, 1, 2, 9, 16)
    for named in ({"is_causal": True}, {"attn_mask": torch.rand(9, 9) > 0.5}, {"scale": 1.0}):
        expected = F.scaled_dot_product_attention(query, key, value, **named)
        with in_blocks():
            assert torch.equal(F.scaled_dot_product_attention(query, key, value, **named), expected)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recipe", ["bf16-attention", "bf16+bf16-attention", "onednn+bf16-attention"])
def test_objects_stay_near_the_references_and_every_evaluation_is_served(model, recipe, monkeypatch):
    from suite.optimizations.execution import block_attention

    calls = []
    monkeypatch.setattr(block_attention, "attend", lambda *qkv: calls.append(None) or attend(*qkv))
    made = pipeline(recipe, model)
    assert 0 < distance(objects(made), reference(model)) < (0.03 if recipe.startswith("bf16+") else 0.02)
    assert len(calls) >= made.evaluations * len(made.diffusion)


def calls_of(made) -> int:
    """How many attentions there are in making an object: the upsampler's context is asked once."""
    layers = {"base diffusion": NANO_TEXT.layers, "upsampler": NANO_UPSAMPLER.layers}
    each = sum(count * layers[stage] for stage, count in made.stage_evaluations.items())
    return each + NANO_UPSAMPLER.context_layers


def test_every_attention_of_an_object_is_served(monkeypatch):
    from suite.optimizations.execution import block_attention

    calls = []
    monkeypatch.setattr(block_attention, "attend", lambda *qkv: calls.append(None) or attend(*qkv))
    made = pipeline("steps-4+bf16-attention")
    made.generate(["two yellow cones"])
    assert len(calls) == calls_of(made)


def test_it_composes_with_int8_and_is_no_more_off_than_int8_alone_may_be():
    assert 0 < distance(objects(pipeline("int8-fbgemm-linear+bf16-attention")), reference()) < 0.05


def test_a_compiled_network_has_it_as_an_operator():
    if reason := why_absent(torch.device("cpu")):
        pytest.skip(reason)
    made = pipeline("compile+bf16-attention")
    assert 0 < distance(objects(made), reference()) < 0.02
    served = []
    body = attend._init_fn.__code__  # what torch.compile leaves whole, so that Python still enters it
    sys.setprofile(lambda frame, event, _: served.append(None) if event == "call" and frame.f_code is body else None)
    try:
        objects(made)
    finally:
        sys.setprofile(None)
    assert len(served) == calls_of(made)


def test_what_it_cannot_serve_is_refused():
    with pytest.raises(UnsupportedRecipe, match="a GPU's is fused"):
        use_blocks(pipeline(), torch.device("meta"))
    with pytest.raises(ImpossibleComposition, match=r"write compile\+bf16-attention"):
        find_optimization("bf16-attention+compile")
    with pytest.raises(ImpossibleComposition, match=r"write bf16\+bf16-attention"):
        find_optimization("bf16-attention+bf16")
