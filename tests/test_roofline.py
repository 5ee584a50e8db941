"""Arithmetic and traffic, counted operation by operation, against sums on paper; the floor; the machine's peaks."""

from __future__ import annotations

import time
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.full_size_cost import published_clip, published_evaluation
from suite.judging.roofline import compute_s, floor_s, lacking
from suite.metrics import counting, peaks
from suite.metrics.counting import Counting, counted
from suite.metrics.peaks import machine_peak
from suite.models.conditioning.clip import load_clip_nano
from suite.models.point_e.network import PointDiffusionTransformer, PointTransformerSettings
from suite.records import Cost, MachinePeak, StageCost

PEAK = MachinePeak(flops_per_s={"float32": 100.0, "bfloat16": 400.0}, bytes_per_s=10.0)
FLOAT = 4  # bytes

# GFLOP an evaluation of the originals as they run, counted on OpenAI's own code.
ORIGINALS = {
    ("base40M-textvec", 2): 206.7,
    ("base40M", 2): 274.7,
    ("base300M", 2): 1871,
    ("base1B", 2): 6837,
    ("upsample", 1): 795,
    ("upsample", 2): 1589,
}
PARAMETERS = {
    "base40M": 40_466_956,
    "base40M-textvec": 40_333_836,
    "base300M": 311_778_316,
    "base1B": 1_244_311_564,
    "upsample": 40_470_540,
}


@pytest.mark.parametrize("arithmetic, moved, longest", [(200, 10, 2.0), (200, 90, 9.0)])
def test_the_floor_is_the_longer_of_arithmetic_and_traffic(arithmetic, moved, longest):
    assert floor_s({"float32": arithmetic}, moved, PEAK) == longest


def test_each_type_of_arithmetic_has_its_own_peak_and_an_unknown_one_no_floor():
    assert compute_s({"float32": 100, "bfloat16": 400}, PEAK) == 2.0
    assert compute_s({"float32": 100, "int8": 1}, PEAK) is None
    assert floor_s({"int8": 5}, 10, PEAK) is None
    assert floor_s({"int8": 0}, 10, PEAK) == 1.0


def test_a_type_without_instructions_is_held_to_float32():
    slow = MachinePeak(flops_per_s={"float32": 100.0, "bfloat16": 0.5}, bytes_per_s=10.0)
    assert compute_s({"float32": 100, "bfloat16": 400}, slow) == 5.0
    assert floor_s({"bfloat16": 400}, 10, slow) == 4.0


@pytest.mark.parametrize("bfloat16, kinds", [(0.5, ["bfloat16"]), (100.0, []), (400.0, [])])
def test_what_a_machine_computes_slower_than_float32_is_told_of_what_the_stages_compute(bfloat16, kinds):
    peak = MachinePeak(flops_per_s={"float32": 100.0, "bfloat16": bfloat16, "int8": 1.0}, bytes_per_s=10.0)
    stages = {
        "text encoder": StageCost(flops={"float32": 9, "int8": 0}, bytes_moved=1),
        "base diffusion": StageCost(flops={"bfloat16": 9}, bytes_moved=1),
    }
    assert lacking(Cost(stages=stages, peak=peak)) == kinds


@pytest.mark.parametrize("shape", [(10, 8), (2, 5, 8), (1, 2, 5, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer(shape, bias):
    layer, x = nn.Linear(8, 16, bias=bias), torch.randn(shape)
    count = counted(lambda: layer(x))
    assert count.flops == {"float32": 2 * 10 * 8 * 16}
    assert count.bytes_moved == FLOAT * (10 * 8 + 8 * 16 + 16 * bias + 10 * 16)


def test_products_in_every_form_are_counted_once():
    a, b, batch = torch.randn(10, 8), torch.randn(8, 16), torch.randn(3, 10, 8)
    one = 2 * 10 * 8 * 16
    assert counted(lambda: a @ b).total_flops == one
    assert counted(lambda: batch @ b).total_flops == 3 * one
    assert counted(lambda: torch.einsum("bij,jk->bik", batch, b)).total_flops == 3 * one
    assert counted(lambda: torch.baddbmm(torch.zeros(16), batch, b.expand(3, 8, 16))).total_flops == 3 * one
    assert counted(lambda: torch.addmm(torch.zeros(16), a, b)).total_flops == one
    assert counted(lambda: F.gelu(a) + a.softmax(-1)).total_flops == 0


def test_a_convolution_by_its_places():
    layer, x = nn.Conv2d(3, 5, kernel_size=4, stride=4), torch.randn(2, 3, 16, 8)
    count = counted(lambda: layer(x))
    assert count.flops == {"float32": 2 * (4 * 2) * 2 * (5 * 3 * 4 * 4)}
    assert count.bytes_moved == FLOAT * (x.numel() + 5 * 3 * 16 + 5 + 2 * 5 * 8)
    back = nn.ConvTranspose2d(5, 3, kernel_size=4, stride=4)
    y = torch.randn(2, 5, 4, 2)
    assert counted(lambda: back(y)).flops == {"float32": 2 * (4 * 2) * 2 * (5 * 3 * 4 * 4)}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("keys", [7, 30])
def test_attention_is_one_operation_on_every_device(device, keys):
    query, key, value = (torch.empty(2, 4, n, 16, device=device) for n in (7, keys, keys))
    count = counted(lambda: F.scaled_dot_product_attention(query, key, value))
    assert count.flops == {"float32": 2 * (2 * 4 * 7 * keys * 16) * 2}
    assert count.bytes_moved == FLOAT * 2 * 4 * 16 * (7 + keys + keys + 7)  # scores are never written


def test_attention_is_counted_without_inference_mode_too():
    query = torch.randn(2, 4, 7, 16)
    with torch.no_grad(), Counting() as counting:
        F.scaled_dot_product_attention(query, query, query)
    assert counting.count.total_flops == 4 * 2 * 4 * 7 * 7 * 16


@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_attention_of_clip_counts_as_much_as_its_parts(monkeypatch, masked):
    taken = []

    def spy(*arguments, **settings):
        taken.append(True)
        return counting._multihead_attention(*arguments, **settings)

    monkeypatch.setitem(counting.COUNTERS, torch.ops.aten._native_multi_head_attention, spy)
    layer, x = nn.MultiheadAttention(16, 4, batch_first=True).eval(), torch.randn(2, 9, 16)
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1) if masked else None

    def call():
        layer(x, x, x, need_weights=False, attn_mask=mask)

    fused = counted(call)
    assert taken == [True]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        parts = counted(call)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert taken == [True]
    on_paper = 2 * 2 * 9 * (4 * 16 * 16) + 4 * 2 * 9 * 9 * 16
    assert fused.total_flops == parts.total_flops == on_paper
    assert fused.bytes_moved == pytest.approx(parts.bytes_moved, rel=0.001)


def test_clip_counts_the_same_with_weights_and_without():
    clip = load_clip_nano()
    tokens = torch.zeros(1, clip.positional_embedding.shape[0], dtype=torch.long)
    picture = torch.zeros(1, 3, 64, 64)
    here = [counted(lambda: clip.encode_text(tokens)), counted(lambda: clip.encode_image(picture))]
    clip = clip.to("meta")
    there = [
        counted(lambda: clip.encode_text(tokens.to("meta"))),
        counted(lambda: clip.encode_image(picture.to("meta"))),
    ]
    assert [count.total_flops for count in here] == [count.total_flops for count in there]
    assert all(count.total_flops > 1e7 for count in here)


def test_a_quantized_layer_is_integer_arithmetic_with_weights_of_a_byte():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no fbgemm engine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = torch.ao.nn.quantized.dynamic.Linear(8, 16)
    x = torch.randn(10, 8)
    count = counted(lambda: layer(x))
    assert count.flops == {"int8": 2 * 10 * 8 * 16}
    assert count.bytes_moved == FLOAT * (10 * 8 + 10 * 16) + 8 * 16


def test_onednns_layer_counts_as_torchs_own():
    if counting.ONEDNN is None or not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN layer")
    layer, x = nn.Linear(8, 16), torch.randn(10, 8)
    plain = counted(lambda: layer(x))
    other = counted(lambda: counting.ONEDNN(x, layer.weight, layer.bias, "none", [], ""))
    assert (other.flops, other.bytes_moved) == (plain.flops, plain.bytes_moved)


def test_half_precision_halves_the_traffic_and_has_its_own_name():
    layer, x = nn.Linear(8, 16), torch.randn(10, 8)
    whole = counted(lambda: layer(x))
    layer, x = layer.bfloat16(), x.bfloat16()
    half = counted(lambda: layer(x))
    assert half.flops == {"bfloat16": whole.flops["float32"]}
    assert half.bytes_moved == whole.bytes_moved / 2


def test_a_point_transformer_on_paper():
    """Twelve square matrices a block and a token, attention, and the projections of points, time and condition."""
    settings = PointTransformerSettings(
        points=20, width=16, layers=3, heads=2, conditioning="vector", clip_width=8, clip_tokens=2, prediction="v"
    )
    network = PointDiffusionTransformer(settings).eval()
    count = counted(lambda: network(torch.randn(2, 6, 20), torch.zeros(2), torch.randn(2, 8)))
    rows, tokens, width = 2, 1 + 2 + 20, 16
    blocks = 3 * rows * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width)
    around = 2 * rows * (20 * 6 * width + 2 * 4 * width**2 + 8 * 2 * width + 20 * width * 6)
    assert count.total_flops == blocks + around


@pytest.mark.parametrize("name, batch", ORIGINALS, ids=lambda value: str(value))
def test_the_published_networks_cost_what_the_originals_do(name, batch):
    count, parameters = published_evaluation(name, batch)
    assert count.total_flops == pytest.approx(1e9 * ORIGINALS[name, batch], rel=0.01)
    assert parameters == PARAMETERS[name]
    assert count.bytes_moved > FLOAT * parameters * 0.999  # each weight is read at least once


def test_clip_at_full_size_costs_what_the_originals_does():
    found = published_clip()
    text, image = found["CLIP ViT-L/14, text"], found["CLIP ViT-L/14, image"]
    assert text[0].total_flops == pytest.approx(13.3e9, rel=0.01)
    assert image[0].total_flops == pytest.approx(162e9, rel=0.01)
    assert text[1] + image[1] == pytest.approx(427_616_513, abs=1)  # logit_scale


def test_peaks_are_those_of_this_machine(monkeypatch):
    """No counted work may be done faster than the peaks say: that is what a floor means.

    In processor seconds, since a busy neighbour takes the core away for longer than a product lasts. What it still does
    to caches can only slow either side, so both are measured in turn and the best of each is compared, of as many looks
    as it takes.
    """
    monkeypatch.setattr(peaks, "time", SimpleNamespace(perf_counter=time.process_time))
    monkeypatch.setattr(peaks, "COPY_BYTES", 32 * 2**20)
    layer, x = nn.Linear(512, 512), torch.randn(256, 512)

    def work():
        for _ in range(20):
            layer(x)

    flops = counted(work).flops
    arithmetic_s, measured_s = [], []
    while len(measured_s) < 40:
        peak = machine_peak(torch.device("cpu"), lambda: None, ["float32"])
        assert set(peak.flops_per_s) == {"float32"}
        assert 1e8 < peak.bytes_per_s < 1e13
        arithmetic_s.append(compute_s(flops, peak))
        with torch.inference_mode():
            measured_s.append(peaks._best(work, lambda: None))
        if len(measured_s) >= 6 and 0.7 * min(arithmetic_s) < min(measured_s):
            break
    assert 0.7 * min(arithmetic_s) < min(measured_s) < 50 * min(arithmetic_s)


def test_layers_are_no_faster_than_the_peak_of_their_type_where_the_processor_has_no_instructions_for_it(monkeypatch):
    """A layer's matrix lies transposed, which torch's own loops for bfloat16 do 6 times as fast as `@`."""
    monkeypatch.setattr(peaks, "time", SimpleNamespace(perf_counter=time.process_time))
    monkeypatch.setattr(peaks, "COPY_BYTES", 2**20)
    layer, x = nn.Linear(256, 256, dtype=torch.bfloat16), torch.randn(256, 256).bfloat16()
    found, layers = 0.0, 0.0
    for _ in range(20):
        found = max(found, machine_peak(torch.device("cpu"), lambda: None, ["bfloat16"]).flops_per_s["bfloat16"])
        with torch.inference_mode():
            layers = max(layers, 2 * 256**3 / peaks._best(lambda: layer(x), lambda: None))
        if found > 0.7 * layers:
            break
    assert found > 0.7 * layers


def test_a_short_product_is_made_larger_until_the_clock_can_tell(monkeypatch):
    sides = []

    def instant(side, device):
        sides.append(side)
        return lambda: None

    rate = peaks._rate(instant, torch.device("cpu"), lambda: None)
    assert sides == [256, 512, 1024, 2048, 4096, 8192]
    assert rate > 0
