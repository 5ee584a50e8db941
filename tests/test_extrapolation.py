"""Latency told from a few evaluations: true where they are equal, honest of their spread, never without its label."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import time
from contextlib import nullcontext
from statistics import fmean

import pytest
import torch
from torch import nn

from leaderboards import cells
from leaderboards.rows import measured_rows, repeat_command
from leaderboards.tables import to_markdown
from suite.building import load
from suite.catalogue.optimizations import OPTIMIZATIONS, find_optimization
from suite.configurations import find
from suite.history import latest
from suite.judging import baselines
from suite.judging.budgets import judge
from suite.metrics import extrapolation
from suite.metrics.extrapolation import (
    MEMORY_EVALUATIONS,
    MIN_EVALUATIONS,
    at_least,
    diffusion_places,
    extrapolate_extra,
    extrapolate_latency,
    interval,
    only_first_calls,
    stop_reason,
)
from suite.models.pipeline import Pipeline
from suite.models.sampling.solvers import evaluations
from suite.models.shap_e.pipeline import ShapE
from suite.optimizations.arithmetic.precision import cast_to
from suite.records import Budget, Latency, Measurement, StageExtrapolation, Status, Verdict
from suite.session.recording import Wanted, differences
from suite.worker import execution
from suite.worker.job import Job
from suite.worker.passes import Run
from tests import bad_models, factories, shap_e_cases
from tests.test_point_e_official import PROMPTS, narrow

CPU = torch.device("cpu")
PROMPT = "a dog"


class Clocked(nn.Module):
    """A network that takes the next of these seconds, by a clock that is moved by hand."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds, self.made = clock, itertools.cycle(seconds), 0

    def forward(self, x):
        self.made += 1
        self.clock.now += next(self.seconds)
        return x + 1


class Slow(Pipeline):
    """A text encoder, two diffusion stages with work of their own, and another decoding in 200 parts."""

    model = "slow"
    diffusion = ("base diffusion", "upsampler")
    weights_sha256 = None
    extra_stages = ("views",)
    steps = 64

    def __init__(self, monkeypatch, base=(2.0,), upsampler=(30.0,)):
        self.now = 0.0
        self.networks = {"base diffusion": Clocked(self, base), "upsampler": Clocked(self, upsampler)}
        self.decoder = Clocked(self, itertools.chain([9.0], itertools.repeat(0.5)))  # its first part warms it up
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    @property
    def evaluations(self):
        return 2 * evaluations(self.steps)

    def generate(self, prompts, sample=0, stage=lambda name: nullcontext()):
        with stage("text encoder"):
            self.now += 3.0
        for name in self.diffusion:
            x = torch.zeros(1, 4)
            with stage(name):
                self.now += 1.0
                for _ in range(evaluations(self.steps)):
                    x = self.networks[name](x)
                    self.now += 0.01
        return x

    def extra(self, name, prompts, stage=lambda name: nullcontext()):
        with stage(name):
            self.now += 1.0
            return [self.decoder(torch.zeros(1, 8)) for _ in range(200)] + [self.decoder(torch.zeros(1, 3))]

    def extra_part(self, name):
        return self.decoder, "forward"


def told(slow, budget_s=60.0) -> Latency:
    return extrapolate_latency(slow, PROMPT, lambda: None, budget_s)


def test_equal_evaluations_tell_exactly_what_the_whole_takes(monkeypatch):
    slow = Slow(monkeypatch)
    latency, made = told(slow), [network.made for network in slow.networks.values()]
    started = slow.now
    slow.generate([PROMPT])
    assert latency.samples_s == [pytest.approx(slow.now - started)]
    assert latency.median.value == latency.samples_s[0]
    assert {stage: values[0] for stage, values in latency.stage_samples_s.items()} == {
        "text encoder": pytest.approx(3),
        "base diffusion": pytest.approx(1 + 127 * 2.01),
        "upsampler": pytest.approx(1 + 127 * 30.01),
    }
    assert made == [5, 3]  # five that agree; three that use up their half of the budget
    assert (latency.stop_reason, latency.first_call_s, latency.warnings) == ("time", None, [])
    detail = latency.extrapolation["upsampler"]
    assert (detail.evaluation_samples_s, detail.evaluations) == ([30.0] * 3, 127)
    assert detail.rest_s == pytest.approx(1 + 127 * 0.01)


def test_a_recipe_with_fewer_steps_is_told_by_its_own_number(monkeypatch):
    slow = Slow(monkeypatch)
    slow.steps = 2
    latency = told(slow)
    assert {d.evaluations for d in latency.extrapolation.values()} == {3}
    assert latency.samples_s == [pytest.approx(3 + 2 * 1.03 + 3 * 32)]
    assert latency.median.low is None  # every evaluation was made: one object, no spread


def test_the_interval_comes_from_the_spread_and_a_shaky_stage_is_named(monkeypatch):
    latency = told(Slow(monkeypatch, upsampler=(30.0, 45.0, 30.0)))
    low, value, high = latency.median.low, latency.median.value, latency.median.high
    assert low < value < high and math.log(high / value) == pytest.approx(math.log(value / low))
    assert value == pytest.approx(3 + 1 + 127 * 2.01 + 1 + 127 * 35.01)
    assert any(w.startswith("evaluations of upsampler: unsteady") for w in latency.warnings)


def test_the_interval_holds_the_whole_19_times_of_20():
    generator, held, rounds = random.Random(1), 0, 1500
    for _ in range(rounds):
        drawn = {s: [generator.gauss(level, 0.1 * level) for _ in range(127)] for s, level in (("a", 2), ("b", 30))}
        stages = {
            s: StageExtrapolation(evaluation_samples_s=v[:4], evaluations=127, rest_s=1) for s, v in drawn.items()
        }
        made = interval(sum(1 + 127 * fmean(v[:4]) for v in drawn.values()), stages)
        held += made.low <= sum(1 + sum(v) for v in drawn.values()) <= made.high
    assert 0.935 < held / rounds < 0.965


def test_a_single_evaluation_has_no_interval():
    stages = {"a": StageExtrapolation(evaluation_samples_s=[2.0], evaluations=127, rest_s=1)}
    assert interval(255, stages).high is None


def test_evaluations_stop_after_three_at_least():
    assert stop_reason([100.0] * (MIN_EVALUATIONS - 1), 1) is None
    assert stop_reason([100.0] * MIN_EVALUATIONS, 1) == "time"
    assert stop_reason([1.0] * 5, 60) == "interval"
    assert stop_reason([1.0, 2.0] * 10, 1000) == "rounds"


def test_another_decoding_is_told_from_its_parts_without_the_first_and_with_the_odd_one(monkeypatch):
    slow = Slow(monkeypatch)
    seconds, detail = extrapolate_extra(slow, "views", PROMPT, lambda: None)
    assert detail.evaluations == 200 and detail.evaluation_samples_s == [0.5] * 5
    assert seconds == pytest.approx(1 + 200 * 0.5 + 0.5)
    assert slow.decoder.made == 1 + 5 + 1


# The published models' own code, narrow.


def test_few_evaluations_make_an_object_of_the_same_shape_and_leave_the_pipeline_as_it_was():
    pipeline = narrow("image", steps=6)
    before = pipeline.generate(PROMPTS[:1])
    for network in pipeline.networks.values():
        network.calls.clear()
    with only_first_calls(diffusion_places(pipeline), at_least(MEMORY_EVALUATIONS)) as asked:
        made = pipeline.generate(PROMPTS[:1])
    assert made.shape == before.shape and made.isfinite().all()
    assert [len(network.calls) for network in pipeline.networks.values()] == [2, 2]
    assert [alike.calls for stage in asked.values() for alike in stage.alike.values()] == [11, 11]
    assert torch.equal(pipeline.generate(PROMPTS[:1]), before)


def test_an_error_within_leaves_the_networks_as_they_were():
    pipeline = narrow("text")
    with pytest.raises(KeyError), only_first_calls(diffusion_places(pipeline), at_least(1)):
        raise KeyError
    assert all("forward" not in vars(network) for network in pipeline.networks.values())


def test_the_memory_pass_of_a_whole_object_makes_every_evaluation():
    pipeline = narrow("text", steps=3)
    job = Job(find("point-e-40m-text/fp32@cpu"), "random", quality_prompts=0)
    Run(job, pipeline, None, None, PROMPTS[0]).make(lambda name: nullcontext())
    assert [len(network.calls) for network in pipeline.networks.values()] == [5, 5]


def test_the_sdf_mesh_is_told_from_a_few_of_its_parts(monkeypatch):
    pipeline = narrow("text", spied=False)
    pipeline.grid, pipeline.steps = 40, 1  # 64,000 positions: 15 parts of 4,096 and one of 2,560
    pipeline.generate(PROMPTS[:1])
    seconds, detail = extrapolate_extra(pipeline, "SDF mesh", PROMPTS[0], lambda: None)
    assert detail.evaluations == 15 and 3 <= len(detail.evaluation_samples_s) <= 14
    assert seconds >= detail.rest_s >= 0


def test_nerf_views_are_told_from_a_few_of_their_parts():
    pipeline = shap_e_cases.our_pipeline(False)
    assert isinstance(pipeline, ShapE)
    pipeline.steps, pipeline.ray_samples = 1, (16, 16)
    pipeline.latents([PROMPT])
    seconds, detail = extrapolate_extra(pipeline, "NeRF views", PROMPT, lambda: None)
    assert detail.evaluations > 20 >= len(detail.evaluation_samples_s)
    assert seconds > sum(detail.evaluation_samples_s)
    assert "ask_part" not in vars(pipeline)


# The worker.


def crawling(**fields) -> Job:
    return Job(bad_models.configuration("crawling"), "embedded", quality_prompts=0, time_budget_s=0.05, **fields)


def test_the_worker_tells_latency_from_few_evaluations_and_says_so():
    measurement = execution.measure(crawling(extrapolate=True), session="test", board="here")
    assert measurement.status == Status.OK, measurement.reason
    assert measurement.extrapolated and measurement.evaluations == 127
    (detail,) = measurement.latency.extrapolation.values()
    assert detail.evaluations == 127 and len(detail.evaluation_samples_s) <= 20
    assert measurement.latency.median.value >= 127 * bad_models.CRAWLING_S
    assert set(measurement.memory.stage_peak_memory_bytes) == {"only"}
    assert measurement.extra_stage_samples_s == {}
    assert measurement.cost.stages["only"].total_flops == 127 * 2 * 64 * 64
    assert Measurement.model_validate_json(measurement.model_dump_json()) == measurement


def test_networks_with_random_weights_are_built_in_the_type_of_their_recipe():
    bf16 = dataclasses.replace(bad_models.configuration("typed"), optimization=OPTIMIZATIONS["bf16"])
    assert load(bf16, "random", CPU).dtype == torch.bfloat16
    assert load(bf16, "official", CPU).dtype == torch.float32  # as it is published
    assert load(bad_models.configuration("typed"), "random", CPU).dtype == torch.float32
    assert load(dataclasses.replace(bf16, model=bad_models.model("crash")), "random", CPU).model == "bad"
    assert cast_to(OPTIMIZATIONS["steps-4"]) is None
    assert cast_to(find_optimization("steps-4+bf16")) == cast_to(find_optimization("bf16+steps-4")) == torch.bfloat16


# Labels: judged, kept and shown for what it is.


def extrapolated(**fields) -> Measurement:
    made = factories.measurement(**({"hits": None, "weights": "random"} | fields))
    detail = StageExtrapolation(evaluation_samples_s=[0.01, 0.02, 0.01], evaluations=127, rest_s=0.1)
    latency = made.latency.model_copy(update={"extrapolation": {"base diffusion": detail}, "first_call_s": None})
    return made.model_copy(update={"extrapolated": True, "latency": latency})


@pytest.mark.parametrize("name", ["latency_s", "latency_ratio"])
def test_no_latency_budget_judges_it_and_its_memory_is_judged(name):
    budget = Budget(name=name, limit=0.001, source="measured", reason="test")
    judgement = judge(budget, extrapolated(reference_s=4.0))
    assert judgement.verdict is None and "extrapolated" in judgement.message
    memory = Budget(name="peak_memory_bytes", limit=1, source="measured", reason="test")
    assert judge(memory, extrapolated()).verdict == Verdict.OVER_BUDGET


def test_no_baseline_judges_it():
    pinned = baselines.Baseline.model_construct(
        latency_per="reference",
        latency=None,
        peak_memory_bytes=None,
        quality=None,
        fingerprint=extrapolated().fingerprint,
        sessions=[],
    )
    change = next(c for c in baselines.judge(extrapolated(), pinned) if c.quantity == "latency_ratio")
    assert change.verdict == Verdict.NO_BASELINE and "extrapolated" in change.reason


def test_it_never_replaces_a_latency_of_whole_objects():
    whole = factories.measurement(weights="random", hits=None, measured_at="2026-11-01T00:00:00Z")
    told_later = extrapolated(measured_at="2026-11-02T00:00:00Z")
    assert latest([whole, told_later]) == [whole]
    assert (
        latest([told_later, whole.model_copy(update={"measured_at": "2026-11-03T00:00:00Z"})])[0].extrapolated is False
    )


def test_resuming_tells_it_from_a_latency_of_whole_objects():
    wanted = Wanted("random", prompts=0, extrapolated=False)
    (reason,) = differences(extrapolated(), wanted)
    assert reason == "journal has an extrapolated latency, this session asks for that of whole objects"
    assert differences(extrapolated(), dataclasses.replace(wanted, extrapolated=True)) == []


def test_rows_tables_and_dashboard_say_it():
    from dashboard import stages, tables

    (row,) = measured_rows([extrapolated(configuration_id="point-e-40m-text/fp32@cpu", seconds=3000.0)])
    assert row.extrapolated and row.on_frontier is None and row.latency_s == 3000
    assert cells.latency(row).startswith("≈ 3,000 s (") and "extrapolated" in cells.notes(row)
    page = to_markdown("cpu", [row], {})
    assert "≈ 3,000 s" in page and "point-e-40m-text/fp32 (random weights, extrapolated)" in page
    assert stages.name(row) == "point-e-40m-text/fp32, random weights, extrapolated"
    assert "extrapolated" in tables.remarks(row)
    assert repeat_command(row).endswith("--weights random")
    assert repeat_command(row.model_copy(update={"weights": "official"})).endswith("--extrapolate always")


def test_only_full_size_models_with_random_weights_on_a_processor_are_told_by_default():
    from suite.session.options import SessionOptions
    from suite.session.planning import extrapolates, weights_of

    def asks(identifier, **asked):
        configuration, options = find(identifier), SessionOptions(**asked)
        return extrapolates(configuration, weights_of(configuration, options), options)

    assert asks("point-e-40m-text/bf16@cpu", weights="random")
    assert not asks("point-e-40m-text/bf16@cpu")  # official weights make objects
    assert not asks("point-e-40m-text/bf16@h100", weights="random")
    assert not asks("point-e-40m-text/bf16@cpu", weights="random", extrapolate="never")
    assert not asks("point-e-nano-text/fp32@cpu")
    assert asks("point-e-nano-text/fp32@cpu", extrapolate="always")
    assert not asks("point-e-nano-text/w3@cpu", extrapolate="always")


def test_the_document_has_the_rules_numbers():
    from pathlib import Path

    text = (Path(__file__).parents[1] / "docs" / "measuring.md").read_text()
    assert f"{MIN_EVALUATIONS} evaluations at least" in text
    assert f"{extrapolation.EXTRA_BUDGET_S:.0f} s an extra stage" in text
