"""The door for others: entries of other packages come in, run, and break nothing of ours."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from suite.building import apply_recipe
from suite.catalogue.devices import DEVICES, Device
from suite.catalogue.models import MODELS
from suite.catalogue.optimizations import OPTIMIZATIONS, find_optimization
from suite.catalogue.recipes import UnsupportedRecipe
from suite.configurations import Configuration, find
from suite.metrics.cost import object_counts
from suite.metrics.extrapolation import extrapolate_latency
from suite.metrics.pictures import picture
from suite.models.pipeline import Evaluations, Pipeline
from suite.models.sampling.settings import Sampled, Sampling
from suite.models.sampling.solvers import SOLVERS, Solver
from suite.optimizations.sampling.guidance import limit
from suite.optimizations.sampling.steps import set_steps
from suite.records import Status
from suite.session.options import SessionOptions
from suite.session.planning import plan
from suite.worker import execution
from suite.worker.job import Job
from tests import bad_models
from tests.techniques import CPU, judge
from tests.techniques import pipeline as embedded

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "text3d-example"
BOARD = {"TEXT3D_BOARD": "test-extensions"}


def recipes_on(device: Device) -> set[str]:
    """Of one model: those that its matrix has and that run."""
    cells = (Configuration(MODELS["point-e-nano-text"], one, device) for one in OPTIMIZATIONS.values())
    return {c.optimization.name for c in cells if c.in_matrix and not c.unsupported}


@pytest.mark.parametrize(("kind", "like"), [("cpu", "cpu"), ("cuda", "orin")])
def test_a_device_gets_exactly_the_recipes_of_its_kind(kind, like):
    added = Device(name="added", title="Added", kind=kind, backend="suite.devices.cpu:Cpu", source="tests")
    assert recipes_on(added) == recipes_on(DEVICES[like])
    others = recipes_on(DEVICES["orin" if like == "cpu" else "cpu"])
    assert recipes_on(added) != others


def test_a_device_of_a_new_kind_gets_what_asks_for_no_kind():
    added = Device(name="phone", title="Phone", kind="npu", backend="suite.devices.cpu:Cpu", source="tests")
    found = recipes_on(added)
    assert {"fp32", "bf16", "steps-16", "distilled-2"} <= found
    assert not found & {"int8-fbgemm-linear", "onnx", "cuda-graphs", "fp16-tensorrt"}


def test_what_a_device_lacks_is_said_by_its_own_entry():
    turing = Device(
        name="turing",
        title="Turing",
        kind="cuda",
        backend="suite.devices.cuda:Cuda",
        source="tests",
        lacks={"bfloat16": "no bfloat16 here"},
    )
    cell = Configuration(MODELS["point-e-nano-text"], OPTIMIZATIONS["bf16"], turing)
    assert cell.unsupported == "no bfloat16 here"
    assert find("point-e-nano-text/bf16+steps-16@t4").unsupported == "Turing has no bfloat16 arithmetic"


class Foreign(Pipeline):
    """A pipeline that has what the base class asks for, and nothing more."""

    def __init__(self):
        self.model, self.weights_sha256 = "foreign", None
        self.networks = {"maker": nn.Linear(4, 6)}

    def make(self, prompts, sample, stage):
        with stage("maker"):
            return self.networks["maker"](torch.randn(len(prompts), 8, 4)).clamp(0, 1)


@pytest.mark.parametrize("name", [n for n, one in OPTIMIZATIONS.items() if not one.why_unsupported(DEVICES["cpu"])])
def test_every_recipe_of_ours_takes_a_foreign_pipeline_or_refuses_it_in_words(name):
    try:
        made = apply_recipe(OPTIMIZATIONS[name], Foreign(), torch.device("cpu"))
    except UnsupportedRecipe as refusal:
        assert "foreign" in str(refusal) or "not installed" in str(refusal) or "torchao" in str(refusal)
        return
    changed = str(made.networks["maker"]) != str(Foreign().networks["maker"]) or any(
        p.dtype != torch.float32 for p in made.networks["maker"].parameters()
    )
    assert changed or not OPTIMIZATIONS[name].techniques, (
        "a recipe that changed nothing is the reference under its name"
    )


def test_a_prompt_set_that_is_not_there_is_a_status_with_the_nearest_name():
    cell = find("point-e-nano-text/fp32@cpu")
    misspelt = replace(cell, model=replace(cell.model, prompts="embeded"))
    absent = plan(misspelt, SessionOptions())
    assert (absent.status, absent.reason) == (
        Status.CRASHED,
        "point-e-nano-text: unknown prompt set 'embeded'; nearest: embedded",
    )


def test_guidance_within_an_interval_hides_no_other_difference():
    made = embedded("fp32")
    made.evaluations_are = Evaluations.ANYHOW
    assert limit(made, CPU, low_sigma=0.3, high_sigma=5.0).evaluations_are == Evaluations.ANYHOW
    assert limit(embedded("fp32"), CPU, low_sigma=0.3, high_sigma=5.0).evaluations_are == Evaluations.BY_SHAPE


# Workers that live elsewhere.

ELSEWHERE = replace(DEVICES["cpu"], launcher="tests.other_launcher:Elsewhere")


def test_a_device_may_bring_a_launcher_of_its_own():
    """The same job, to a program reached over a socket: the same objects, scored alike."""
    recipe = find_optimization("dpmpp-4+copied-points")
    cells = [Configuration(MODELS["point-e-nano-text"], recipe, device) for device in (DEVICES["cpu"], ELSEWHERE)]
    phases: list[str] = []
    jobs = [Job(configuration=cell, weights="embedded", quality_prompts=10, time_budget_s=0.1) for cell in cells]
    here, there = (
        execution.measure(job, session="s", board="b", progress=lambda phase, _: phases.append(phase)) for job in jobs
    )
    assert here.status == there.status == Status.OK, there.reason
    ours, theirs = ([o.margin_153 for o in found.quality.outcomes] for found in (here, there))
    assert len(set(ours)) == 10 and theirs == pytest.approx(ours, abs=1e-3)
    assert there.memory.peak_memory_bytes > 1e6 and there.latency.median.value > 0
    assert phases.count("latency") >= 2 and here.fingerprint == there.fingerprint


@pytest.mark.parametrize(
    ("deed", "status"), [("segfault", Status.CRASHED), ("quits", Status.CRASHED), ("crash", Status.CRASHED)]
)
def test_what_ends_a_worker_elsewhere_is_a_status_too(deed, status):
    cell = replace(bad_models.configuration(deed), device=ELSEWHERE)
    measured = execution.measure(Job(configuration=cell, weights="embedded", quality_prompts=0), session="s", board="b")
    assert measured.status == status and measured.reason


def test_a_worker_elsewhere_ends_in_time():
    cell = replace(bad_models.configuration("hang"), device=ELSEWHERE)
    job = Job(configuration=cell, weights="embedded", quality_prompts=0)
    measured = execution.measure(job, session="s", board="b", timeout_s=15)
    assert measured.status == Status.TIMED_OUT


# What techniques and models of others may rely on.


def test_a_technique_with_state_is_told_when_new_objects_begin():
    made, told = set_steps(embedded("fp32", "shap-e-nano-text"), CPU, steps=2), []
    made.views = partial(made.views, count=1, size_px=16)
    made.when_objects_begin(lambda: told.append("cache cleared"))
    made.when_objects_begin(lambda: told.append("and the other"))
    made.generate(["a red cube"])
    assert told == ["cache cleared", "and the other"]
    made.extra("NeRF views", ["a red cube"])  # the same object, decoded again
    assert len(told) == 2
    made.extra("NeRF views", ["a blue ball"])
    assert len(told) == 4


def test_where_evaluations_differ_all_are_counted_and_none_stands_for_another():
    class Cached(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) if self.calls % 4 == 1 else x  # three of four from a cache

    class Sampler(Sampled):
        def __init__(self):
            self.model, self.weights_sha256, self.diffusion = "cached", None, ("diffusion",)
            self.networks, self.sampling, self.apart = {"diffusion": Cached(8, 8)}, Sampling(64, "euler"), {}

        def make(self, prompts, sample, stage):
            x = torch.zeros(1, 8)
            with stage("diffusion"):
                for _ in range(self.evaluations):
                    x = self.networks["diffusion"](x)
            return x

    made = Sampler()
    made.evaluations_are = Evaluations.ANYHOW
    made.when_objects_begin(lambda: setattr(made.networks["diffusion"], "calls", 0))
    one = 2 * 8 * 8
    assert sum(object_counts(made, "p")["diffusion"].flops.values()) == 16 * one
    with pytest.raises(UnsupportedRecipe, match="a few do not tell the latency; --extrapolate=never"):
        extrapolate_latency(made, "p", lambda: None, 1.0)


def test_a_solver_is_one_entry(monkeypatch):
    asked = []

    def midpoint(denoise, start_noise, sigmas):
        x = start_noise * float(sigmas[0])
        for sigma, following in pairwise(sigmas.tolist()):
            middle = (sigma + following) / 2
            half = x + (x - denoise(x, sigma)) / sigma * (middle - sigma)
            asked.append(sigma)
            x = x + (half - denoise(half, middle)) / middle * (following - sigma)
        return x

    monkeypatch.setitem(SOLVERS, "midpoint", Solver(midpoint, evaluations=lambda steps: 2 * steps))
    made = set_steps(embedded("fp32"), CPU, steps=3, solver="midpoint", spacing="trailing")
    assert made.stage_evaluations["base diffusion"] == 6
    cloud = made.generate(["a red cube"])
    assert cloud.isfinite().all() and len(asked) == 6  # of both stages
    with pytest.raises(ValueError, match="midpoint ends at 0, euler anywhere"):
        Sampling(3, "midpoint", sigma_end=0.1)


class Splats:
    """A form that is neither cloud nor mesh."""

    empty = False

    def as_points(self, count, generator):
        normals = nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
        return torch.cat([normals / 2, torch.tensor([1.0, 0.0, 0.0]).expand(count, 3)], 1), normals

    def write(self, folder, stem):
        path = folder / f"{stem}.splat"
        path.write_bytes(b"splats")
        return [path]


def test_objects_of_another_form_are_judged_and_shown():
    outcomes = judge().score([Splats()], ["a large red ball"])
    assert outcomes[0].chamfer > 0 and 0 <= outcomes[0].rank_153 <= 152
    assert picture(Splats()).size[0] > 32
