"""The recipes through ONNX Runtime on the embedded networks: near fp32, composed, refused, measured."""

from __future__ import annotations

import re
import sys
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from suite.catalogue.optimizations import find_optimization
from suite.catalogue.recipes import UnsupportedRecipe
from suite.configurations import find
from suite.metrics.cost import measure_cost, stage_parameters
from suite.metrics.extrapolation import at_least, diffusion_places, only_first_calls
from suite.models.pipeline import Pipeline
from suite.names import UnknownName
from suite.optimizations.arithmetic import simulated_integers
from suite.optimizations.onnx import calibration as onnx_calibration
from suite.optimizations.onnx.technique import TOLERANCES, use_onnx
from suite.records import Memory
from suite.worker.job import Job
from suite.worker.passes import Run, memory_pass, outside_torch
from tests.onnx_cases import CPU, PROMPTS, pipeline, relative, shared_cache  # noqa: F401 - fixtures
from tests.techniques import upsample_in_few

RECIPES = {
    "onnx": "float32",
    "int8-onnx-dynamic": "int8-dynamic",
    "int8-onnx-linear": "int8-linear",
    "int8-onnx-all": "int8-all",
}
MODELS = ("point-e-nano-text", "shap-e-nano-text")


class Recorder(nn.Module):
    """A network that keeps what it is asked and what it says."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.asked = network, []

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)

    def forward(self, *arguments, **named):
        made = self.network(*arguments, **named)
        self.asked.append((arguments, named, made))
        return made


def recorded(model: str) -> dict[str, list]:
    """What each diffusion network is really asked in a sampling of eight steps, and its answers in fp32."""
    reference = pipeline(model=model)
    for stage in reference.diffusion:
        reference.networks[stage] = Recorder(reference.networks[stage])
    reference.steps = 8
    upsample_in_few(reference)
    reference.generate(PROMPTS)
    return {stage: reference.networks[stage].asked for stage in reference.diffusion}


@cache
def built(recipe: str, model: str) -> Pipeline:
    """One for the tests that only run it."""
    return pipeline(recipe, model)


@pytest.fixture(scope="module")
def asked() -> dict[str, dict[str, list]]:
    return {model: recorded(model) for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_evaluations_of_a_sampling_are_within_the_tolerance_of_fp32(recipe, model, asked):
    """float32 each of them; integers all together: where little noise is left, v is small and their error is not."""

    def first(out: torch.Tensor | tuple) -> torch.Tensor:
        return out[0] if isinstance(out, tuple) else out

    made = built(recipe, model)
    for stage in made.diffusion:
        with torch.inference_mode():
            pairs = [
                (first(made.networks[stage](*a, **named)), first(wanted)) for a, named, wanted in asked[model][stage]
            ]
        errors = [relative(*pair) for pair in pairs]
        together = relative(*(torch.cat([pair[i].flatten() for pair in pairs]) for i in (0, 1)))
        error = max(errors) if recipe == "onnx" else together
        assert 0 < error < TOLERANCES[RECIPES[recipe]], (stage, errors)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_sampling_of_eight_steps_makes_an_object_whatever_the_batch(recipe, model):
    made = built(recipe, model)
    made.steps = 8
    upsample_in_few(made)
    latents = getattr(made, "latents", made.generate)
    together, alone = latents(PROMPTS), latents(PROMPTS[1:])
    assert together.isfinite().all()
    # Scales at each call are those of the batch at hand; and rounding can tip where float32 sums differ.
    assert (together[1] - alone[0]).abs().median() < (0.05 if "int8" in recipe else 1e-4)


def test_float32_gives_the_reference_object():
    objects = []
    for made in (pipeline("onnx+steps-16"), pipeline("steps-16")):
        assert made.steps == 16
        upsample_in_few(made)
        objects.append(made.generate(PROMPTS))
    assert (objects[0] - objects[1]).square().mean().sqrt() < 1e-3


def test_the_context_of_an_object_is_computed_once_and_the_networks_look_like_torchs():
    made, plain = pipeline("onnx"), pipeline()
    contexts, upsampler = [], made.networks["upsampler"]
    run = upsampler.runs["context"]
    run.session.run_with_iobinding, real = lambda b: (contexts.append(1), real(b)), run.session.run_with_iobinding
    made.steps = 4
    made.generate(PROMPTS[:1])
    assert contexts == [1]
    for stage in made.diffusion:
        assert made.networks[stage].settings == plain.networks[stage].settings
        assert list(made.networks[stage].parameters()) == [] and made.networks[stage].outside_torch
    calls = []
    upsampler.register_forward_pre_hook(lambda *_: calls.append(1))
    made.generate(PROMPTS[:1])
    assert len(calls) == 7


# Compositions and refusals.


def test_recipes_compose_with_fewer_steps():
    made = pipeline("steps-16+int8-onnx-linear")
    assert made.steps == 16 and made.generate(PROMPTS[:1]).isfinite().all()
    assert [t.name for t in find_optimization("onnx+steps-16").techniques] == ["onnx", "steps"]
    with pytest.raises(UnknownName, match=re.escape("bf16 and onnx both set the arithmetic")):
        find_optimization("bf16+onnx")


@pytest.mark.parametrize("model", ["point-e-nano-text", "shap-e-nano-text"])
def test_smoothing_in_front_of_integers_is_in_the_graph(model, monkeypatch):
    monkeypatch.setattr(simulated_integers, "CALIBRATION_PROMPTS", 2)
    monkeypatch.setattr(simulated_integers, "CALIBRATION_STEPS", 4)
    made, plain = (pipeline(f"{recipe}int8-onnx-linear", model) for recipe in ("smoothquant+", ""))
    objects = []
    for each in (made, plain):
        each.steps = 8
        upsample_in_few(each)
        objects.append(each.latents(PROMPTS) if hasattr(each, "latents") else each.generate(PROMPTS))
    assert 0 < relative(*objects) < 0.3


def test_ranges_of_other_pictures_are_another_entry():
    one, many = (pipeline(recipe, "point-e-nano-image") for recipe in ("pictures-1", "fp32"))
    assert onnx_calibration.described(one) != onnx_calibration.described(many)
    assert onnx_calibration.described(many) == onnx_calibration.described(pipeline(model="point-e-nano-image"))


def test_chosen_stages_alone_are_replaced():
    made = use_onnx(pipeline(), CPU, arithmetic="float32", stages=("upsampler",))
    replaced = {stage: hasattr(made.networks[stage], "outside_torch") for stage in made.diffusion}
    assert replaced == {"base diffusion": False, "upsampler": True}


def test_misspelled_parameters_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown arithmetic 'int8-linaer'; nearest: int8-linear"):
        use_onnx(pipeline(), CPU, arithmetic="int8-linaer")
    with pytest.raises(UnknownName, match="unknown provider 'tensort'; nearest: tensorrt"):
        use_onnx(pipeline(), CPU, arithmetic="float32", provider="tensort")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_says_which_extra_brings_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedRecipe, match=r'install -e "\.\[onnx\]"'):
        use_onnx(pipeline(), CPU, arithmetic="float32")


# What measures them.


def test_the_cost_of_a_stage_that_torch_does_not_see_is_not_known_and_its_few_evaluations_can_be_asked():
    made = pipeline("onnx")
    cost = measure_cost(made, PROMPTS[0], stage_parameters(made), CPU, lambda: None)
    assert set(cost.stages) == {"text encoder"}
    sparing = measure_cost(made, PROMPTS[0], stage_parameters(made), CPU, lambda: None, sparing=True)
    assert set(sparing.stages) <= {"text encoder"}
    with only_first_calls(diffusion_places(made), at_least(2)) as places:
        made.generate(PROMPTS[:1])
    assert {stage: [len(group.samples) for group in place.alike.values()] for stage, place in places.items()} == {
        "base diffusion": [2],
        "upsampler": [2],
    }


@pytest.mark.parametrize(("kind", "told"), [("process", True), ("allocator", False), ("unified", False)])
def test_memory_that_an_allocator_does_not_see_is_not_told(kind, told):
    class Gauge:
        def restart(self):
            pass

        def peak_bytes(self):
            return 7

        def record(self, stages):
            return Memory(kind=kind, peak_memory_bytes=7)

    parts = []
    answers = SimpleNamespace(part=lambda field, value: parts.append(field))
    backend = SimpleNamespace(synchronize=lambda: None)
    made = pipeline("onnx")
    made.steps = 1
    assert outside_torch(made) and not outside_torch(pipeline())
    job = Job(find("point-e-nano-text/onnx@cpu"), "embedded", quality_prompts=0)
    memory_pass(Run(job, made, backend, answers, PROMPTS[0]), Gauge())
    assert parts == ["memory"] * told
