"""Every technique, on the real pipeline at few steps: it changes what it says, and no more than it says."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from suite.catalogue.devices import DEVICES
from suite.catalogue.optimizations import OPTIMIZATIONS, find_optimization
from suite.catalogue.recipes import UnsupportedRecipe
from suite.configurations import find
from suite.models.checkpoints import official
from suite.models.pipeline import Pipeline
from suite.names import UnknownName
from suite.optimizations.arithmetic import simulated_integers
from suite.optimizations.arithmetic.dynamic_int8 import quantize as dynamic
from suite.optimizations.arithmetic.precision import cast
from suite.optimizations.arithmetic.simulated_integers import quantize as simulate
from suite.optimizations.arithmetic.simulated_integers import round_activations, round_weights
from suite.optimizations.sampling.steps import set_steps
from suite.scenes.gallery import GALLERY
from suite.worker import process as worker
from suite.worker.job import Job
from tests import techniques
from tests.techniques import (
    CPU,
    EMULATED_STEPS,
    MORE,
    PROMPTS,
    STEPS,
    calibrate_briefly,
    distance,
    engine_or_skip,
    linears,
    objects,
    pipeline,
)

# Root mean square differences from fp32 on the same noise, measured in November 2026: bf16 0.002, dynamic int8 0.02 (of
# six objects), weights of 16 bits 0.00001, of 8 bits 0.0025, of 3 bits 0.11, weights and activations of 8 bits 0.003.


@pytest.fixture
def reference() -> torch.Tensor:
    return techniques.reference()


@pytest.fixture
def short_calibration(monkeypatch):
    calibrate_briefly(monkeypatch)


@cache
def rounded(bits: int) -> torch.Tensor:
    """The objects of weights of so many bits."""
    return objects(simulate(pipeline(), CPU, weight_bits=bits, activation_bits=None))


# bf16.


@pytest.mark.parametrize("model", techniques.MODELS)
def test_bf16_casts_the_diffusion_network_and_leaves_text_encoder_and_result_in_float32(model):
    made = pipeline("bf16", model)
    assert {p.dtype for p in made.networks[made.diffusion[0]].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in made.networks["text encoder"].parameters()} == {torch.float32}
    cloud = objects(made, PROMPTS[:1], EMULATED_STEPS)
    assert cloud.dtype == torch.float32
    assert 0 < distance(cloud, techniques.reference(model, PROMPTS[:1], EMULATED_STEPS)) < 0.02


def test_an_unknown_precision_is_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match="unknown dtype 'bfloat61'; nearest: bfloat16"):
        cast(pipeline(), CPU, dtype="bfloat61")


# Dynamic int8.


@pytest.mark.parametrize("model", techniques.MODELS)
def test_dynamic_int8_replaces_every_ordinary_linear_and_stays_near_the_reference(model):
    """Six objects: of some a last digit decides where they go, so that one alone is 0.004 or 0.042 off."""
    engine_or_skip()
    made = pipeline("int8-fbgemm-linear", model)
    left = [m for m in linears(made, made.diffusion[0]) if type(m) is nn.Linear]
    assert left == []
    assert 0 < distance(objects(made, MORE), techniques.reference(model, MORE)) < 0.04


def test_an_engine_that_this_torch_lacks_is_unsupported_and_names_those_it_has(monkeypatch):
    class Quantized:
        supported_engines = ["qnnpack", "none"]
        engine = "qnnpack"

    monkeypatch.setattr(torch.backends, "quantized", Quantized())
    with pytest.raises(UnsupportedRecipe, match="no fbgemm engine; it has qnnpack"):
        dynamic(pipeline(), CPU, engine="fbgemm")


def test_an_unknown_engine_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown quantization engine 'fbgem'; nearest: fbgemm"):
        dynamic(pipeline(), CPU, engine="fbgem")


# Simulated integers.


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_have_at_most_two_to_the_bits_levels_a_row_and_are_rounded_to_the_nearest(bits):
    weight = torch.randn(16, 512, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 16)[:, None]
    rounded = round_weights(weight, bits)
    for row, original in zip(rounded, weight):
        levels = row.unique()
        assert len(levels) <= 2**bits
        nearest = levels[(original[:, None] - levels).abs().argmin(1)]
        assert torch.allclose(row, nearest)
    assert torch.allclose(
        rounded.abs().amax(1), weight.abs().amax(1)
    )  # the largest keeps its value: its scale is the row's
    assert torch.equal(round_weights(-weight, bits), -rounded)


def test_a_row_of_zeros_stays_zero():
    assert torch.equal(round_weights(torch.zeros(2, 4), 3), torch.zeros(2, 4))


def test_activations_are_clamped_and_have_two_to_the_bits_levels():
    x = torch.linspace(-3, 3, 10_001)
    rounded = round_activations(x, -1.0, 2.0, 4)
    assert len(rounded.unique()) == 16
    assert (rounded.min(), rounded.max()) == (-1, pytest.approx(2))
    inner = x.clamp(-1, 2)
    assert (rounded - inner).abs().max() <= 3 / 15 / 2 + 1e-6


def test_a_simulated_network_has_few_levels_in_every_linear_and_the_same_shape():
    made, before = pipeline("w3"), pipeline()
    for rounded, original in zip(linears(made), linears(before), strict=True):
        assert rounded.weight.shape == original.weight.shape
        assert max(len(row.unique()) for row in rounded.weight) <= 2**3
        assert torch.equal(rounded.bias, original.bias)
    assert not torch.equal(linears(made)[0].weight, linears(before)[0].weight)


def test_eight_bits_of_weights_are_close_to_the_reference_and_three_are_farther(reference):
    at = {bits: distance(rounded(bits), reference) for bits in (16, 8, 3)}
    assert at[16] < 1e-3
    assert at[16] < at[8] < 0.02
    assert at[3] > 3 * at[8]


def test_int8_all_rounds_activations_too_and_stays_near_the_reference(reference, short_calibration):
    weights_only = distance(rounded(8), reference)
    both = distance(objects(simulate(pipeline(), CPU, weight_bits=8, activation_bits=8)), reference)
    assert weights_only < both < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ranges_are_found_on_the_device_where_the_values_are(dtype):
    x = torch.linspace(-1, 3, 40_000, dtype=dtype)
    low, high = simulated_integers.ends(x).tolist()
    assert -1 <= low < -0.99 and 2.98 < high <= 3
    assert simulated_integers.ends(x.to("meta")).device.type == "meta"  # a GPU's take none of the processor's tensors


def test_calibration_sees_tuning_captions_only_and_leaves_the_pipeline_as_it_was(short_calibration, monkeypatch):
    made, seen = pipeline("fp32"), []
    generate = type(made).generate
    monkeypatch.setattr(
        type(made), "generate", lambda self, prompts, *a, **k: seen.extend(prompts) or generate(self, prompts, *a, **k)
    )
    made.steps = 64
    quantized = simulate(made, CPU, weight_bits=8, activation_bits=8)
    gallery = json.loads(GALLERY.read_text())
    assert seen and set(seen) <= set(gallery["tuning"])
    assert not set(seen) & ({*gallery["prompts"], *gallery["distractors"]})
    assert quantized.steps == 64
    # One hook a layer rounds; the hooks that watched are gone.
    assert {len(layer._forward_pre_hooks) for layer in linears(quantized)} == {1}


def test_a_calibrated_object_does_not_depend_on_the_batch_it_is_made_in(short_calibration):
    made = simulate(pipeline(), CPU, weight_bits=8, activation_bits=8)
    made.steps = 2
    together, alone = made.generate(PROMPTS), made.generate(PROMPTS[1:])
    # Rounding can tip where float32 sums differ in their last bit: nearly all values agree, none by much.
    assert (together[1] - alone[0]).abs().median() < 1e-4


@pytest.mark.parametrize("bits", [-1, 0, 1, 17])
def test_impossible_bits_of_weights_are_answered_with_what_is_possible(bits):
    with pytest.raises(ValueError, match=f"weight_bits: {bits} is not possible; 2 to 16"):
        simulate(pipeline(), CPU, weight_bits=bits, activation_bits=None)


@pytest.mark.parametrize("bits", [-1, 0, 1, 17])
def test_impossible_bits_of_activations_are_answered_with_what_is_possible(bits, short_calibration):
    with pytest.raises(ValueError, match=f"activation_bits: {bits} is not possible; "):
        simulate(pipeline(), CPU, weight_bits=8, activation_bits=bits)


# Steps.


@pytest.mark.parametrize("name", ["steps-32", "steps-16", "steps-8", "steps-4"])
def test_a_steps_recipe_has_its_steps_and_evaluations(name):
    made, count = pipeline(name), int(name.removeprefix("steps-"))
    assert (made.steps, made.evaluations) == (count, 2 * (2 * count - 1))  # base and upsampler


def test_the_reference_has_64_steps():
    assert (pipeline().steps, pipeline().evaluations) == (64, 2 * 127)


def test_the_evaluations_that_a_recipe_claims_are_those_that_run():
    made, calls = pipeline("steps-4"), []
    for stage in made.diffusion:
        made.networks[stage].register_forward_pre_hook(lambda *_: calls.append(1))
    made.generate(PROMPTS[:1])
    assert len(calls) == made.evaluations


def test_another_solver_asks_once_a_step_and_makes_another_object(reference):
    made = set_steps(pipeline(), CPU, steps=STEPS, solver="dpmpp-2m", spacing="timesteps")
    assert made.evaluations == 2 * STEPS
    calls = []
    made.networks["base diffusion"].register_forward_pre_hook(lambda *_: calls.append(1))
    cloud = made.generate(PROMPTS)
    assert len(calls) == STEPS
    assert cloud.isfinite().all() and 0.01 < distance(cloud, reference) < 0.5


def test_an_unknown_solver_or_spacing_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown solver 'unipcc'; nearest: unipc"):
        set_steps(pipeline(), CPU, steps=4, solver="unipcc")
    with pytest.raises(UnknownName, match="unknown spacing 'karas'; nearest: karras"):
        set_steps(pipeline(), CPU, steps=4, spacing="karas")


@pytest.mark.parametrize("steps", [0, -4])
def test_impossible_steps_are_answered_with_what_is_possible(steps):
    with pytest.raises(ValueError, match=f"steps: {steps} is not possible; at least 1"):
        set_steps(pipeline(), CPU, steps=steps)


# All of them.


@pytest.fixture(scope="module")
def built(graph_cache) -> dict[str, tuple[Pipeline, int]]:
    """Every recipe that this machine can build, as a worker builds it, with the parameters that the worker tells."""
    made, told = [], {}
    answers = SimpleNamespace(phase=lambda *_: None, part=told.__setitem__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(official.CACHE_VARIABLE, str(graph_cache))
        calibrate_briefly(patch)
        patch.setattr(simulated_integers, "CALIBRATION_STEPS", 1)  # whatever the ranges, the parameters are as many
        for name, given in (("memory_pass", 0.0), ("latency_pass", (None, None)), ("cost_pass", None)):
            patch.setattr(worker, name, lambda *_, given=given, **__: given)
        patch.setattr(worker, "Canary", lambda: SimpleNamespace(median_s=0.001))
        patch.setattr("suite.devices.heap.gc.collect", lambda: 0)  # of all that a test process has, seconds in all
        patch.setattr(worker, "load", lambda c, *_: copy.deepcopy(techniques.loaded(c.model.name)))
        apply = worker.apply_recipe
        patch.setattr(worker, "apply_recipe", lambda *given: made.append(apply(*given)) or made[-1])
        found = {}
        for name in OPTIMIZATIONS:
            if name == "compile":  # takes longer than all others: tests/test_techniques_compiled.py
                continue
            try:
                job = Job(find(f"point-e-nano-text/{name}@cpu"), "embedded", quality_prompts=0)
                worker.measure(job, None, None, answers)
            except UnsupportedRecipe:
                continue
            found[name] = made[-1], told["parameters"]
    return found


def test_every_recipe_keeps_the_published_number_of_parameters(built):
    """A quantized layer packs its weights away; the network has as many as before."""
    counted = {name: parameters for name, (_, parameters) in built.items()}
    assert set(counted.values()) == {counted["fp32"]}, counted


def test_every_recipe_of_the_catalogue_runs_and_gives_finite_clouds(built):
    for name, (made, _) in built.items():
        made.steps = 1
        cloud = made.generate(PROMPTS[:1])
        assert cloud.shape == (1, 1024, 6) and cloud.isfinite().all(), name


# Compositions.


def test_recipes_compose_in_order():
    made = find_optimization("int8-fbgemm-linear+steps-4")
    assert [technique.name for technique in made.techniques] == ["quantization", "steps"]
    assert {n for n, d in DEVICES.items() if made.why_unsupported(d)} == {"t4", "orin", "h100"} and not made.simulated
    assert find_optimization("w3").simulated and find_optimization("steps-4").name == "steps-4"
    engine_or_skip()
    together = pipeline("int8-fbgemm-linear+steps-4")
    assert together.steps == 4 and not [m for m in linears(together) if type(m) is nn.Linear]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bf16+int8-fbgemm-linear", "bf16 and int8-fbgemm-linear both set the arithmetic"),
        ("w3+steps-4", "w3 and steps-4 both set the steps"),
        ("fp32+steps-4", "fp32 is the reference"),
        (
            "int8-all+guidance-interval",
            "int8-all looks at how objects are sampled; put guidance-interval before int8-all",
        ),
        ("smoothquant+int8-fbgemm-linear+steps-4", "put steps-4 before smoothquant"),
        ("int8-onnx-linear+pictures-1", "put pictures-1 before int8-onnx-linear"),
        ("merged-tokens+one-evaluation", "put one-evaluation before merged-tokens"),
        ("smoothquant+original", "smoothquant and original both set the smoothquant"),
        ("bf16+steps-61", "unknown optimization 'steps-61'; nearest: steps-16"),
    ],
)
def test_impossible_compositions_say_why(name, words):
    with pytest.raises(UnknownName, match=re.escape(words)):
        find_optimization(name)
