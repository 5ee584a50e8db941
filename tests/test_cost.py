"""What an object costs by stage: told from short samplings, recorded by the worker, and true to the documents."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.full_size_cost import PEAK, published_table, rows
from suite.catalogue.models import MODELS
from suite.configurations import find
from suite.metrics import peaks
from suite.metrics.cost import (
    StageCounts,
    extra_counts,
    measure_cost,
    object_counts,
    sparing_counts,
    sparing_extra_counts,
    stage_parameters,
)
from suite.models.pipeline import Pipeline
from suite.models.point_e.pipeline import build_nano_text
from suite.models.sampling.solvers import evaluations
from suite.optimizations.arithmetic.dynamic_int8 import quantize
from suite.optimizations.arithmetic.precision import cast
from suite.records import Cost, Status
from suite.worker import execution
from suite.worker.job import Job
from tests import bad_models

CPU = torch.device("cpu")
PROMPT = "a small red cube on a large blue ball"
DOCUMENT = Path(__file__).parents[1] / "docs" / "cost.md"


class Toy(Pipeline):
    """A text encoder, a diffusion stage with work of its own besides the evaluations, a decoder that takes more the
    fewer the steps, and another decoding."""

    model = "toy"
    diffusion = ("diffusion",)
    weights_sha256 = None
    extra_stages = ("views",)

    def __init__(self, steps: int = 64):
        self.steps = steps
        self.networks = {stage: nn.Linear(8, 8) for stage in ("encoder", "diffusion", "decoder")}

    @property
    def evaluations(self) -> int:
        return evaluations(self.steps)

    @property
    def stage_evaluations(self) -> dict[str, int]:
        return {"diffusion": self.evaluations}

    @torch.inference_mode()
    def generate(self, prompts, sample=0, stage=lambda name: nullcontext()):
        with stage("encoder"):
            x = self.networks["encoder"](torch.zeros(1, 8))
        with stage("diffusion"):
            x = self.networks["diffusion"](x.expand(100, 8))[:2]  # once an object
            for _ in range(self.evaluations):
                x = self.networks["diffusion"](x)
        with stage("decoder"):
            return self.networks["decoder"](x.expand(2, 8).repeat(1 + (self.steps == 1), 1))

    def extra_part(self, name):
        return self.networks["decoder"], "forward"

    @torch.inference_mode()
    def extra(self, name, prompts, stage=lambda name: nullcontext()):
        made = self.generate(prompts)
        with stage(name):
            return self.networks["decoder"](made.repeat(10, 1))


def whole(pipeline) -> dict:
    """Counted over all steps, nothing told from a part."""
    counts = StageCounts()
    pipeline.generate([PROMPT], stage=counts)
    return {stage: (dict(count.flops), count.bytes_moved) for stage, count in counts.by_stage.items()}


def told(pipeline) -> dict:
    return {s: (dict(count.flops), count.bytes_moved) for s, count in object_counts(pipeline, PROMPT).items()}


@pytest.mark.parametrize("steps", [1, 2, 3, 64])
def test_an_objects_cost_is_told_from_two_short_samplings(steps):
    toy = Toy(steps)
    assert told(toy) == whole(toy)
    assert toy.steps == steps
    (diffusion,) = [count for stage, count in whole(toy).items() if stage == "diffusion"]
    assert diffusion[0] == {"float32": 2 * 8 * 8 * (100 + 2 * evaluations(steps))}


@pytest.mark.parametrize("steps", [1, 2, 64])
def test_an_objects_cost_is_told_from_one_evaluation_as_well(steps):
    toy = Toy(steps)
    found = sparing_counts(toy, PROMPT)
    assert {s: (dict(count.flops), count.bytes_moved) for s, count in found.items()} == whole(Toy(steps))
    (count,) = sparing_extra_counts(Toy(64), PROMPT).values()
    assert count.total_flops == 2 * 8 * 8 * 2 * 10  # of a 64-step object, which has half as much to decode


def test_only_few_evaluations_are_run():
    toy, calls = Toy(64), []
    toy.networks["diffusion"].register_forward_hook(lambda *_: calls.append(True))
    object_counts(toy, PROMPT)
    assert len(calls) == (1 + 1) + (1 + 3)


def test_only_one_evaluation_of_a_shape_is_run_sparingly_and_the_network_is_itself_again():
    toy, calls = Toy(64), []
    network = toy.networks["diffusion"]
    network.forward = lambda x, made=network.forward: calls.append(len(x)) or made(x)
    own = network.forward
    sparing_counts(toy, PROMPT)
    assert calls == [100, 2]
    assert network.forward is own and "forward" not in vars(toy.networks["decoder"])


def test_other_decodings_are_counted_apart_and_leave_the_steps_as_they_were():
    toy = Toy(64)
    (count,) = extra_counts(toy, PROMPT).values()
    assert count.total_flops == 2 * 8 * 8 * 4 * 10
    assert toy.steps == 64


def test_the_steps_come_back_when_the_model_fails():
    toy = Toy(64)
    toy.networks["decoder"] = None
    with pytest.raises(TypeError):
        object_counts(toy, PROMPT)
    assert toy.steps == 64


def test_the_record_has_every_stage_with_its_floor(monkeypatch):
    monkeypatch.setattr(peaks, "COPY_BYTES", 2**20)
    toy = Toy(64)
    cost = measure_cost(toy, PROMPT, stage_parameters(toy), CPU, lambda: None)
    assert {stage: found.parameters for stage, found in cost.stages.items()} == {
        "encoder": 72,
        "diffusion": 72,
        "decoder": 72,
    }
    assert cost.extra_stages["views"].parameters is None  # the decoder's
    for found in (*cost.stages.values(), *cost.extra_stages.values()):
        arithmetic = found.total_flops / cost.peak.flops_per_s["float32"]
        assert found.floor_s == max(arithmetic, found.bytes_moved / cost.peak.bytes_per_s) > 0
    assert Cost.model_validate_json(cost.model_dump_json()) == cost


def test_a_stage_whose_work_is_not_torchs_is_absent_rather_than_free(monkeypatch):
    monkeypatch.setattr(peaks, "COPY_BYTES", 2**20)
    toy = Toy(4)
    toy.networks["diffusion"] = lambda x: x
    cost = measure_cost(toy, PROMPT, {}, CPU, lambda: None)
    assert set(cost.stages) == {"encoder", "decoder"}


def test_the_embedded_model_costs_what_a_whole_sampling_shows():
    pipeline = build_nano_text("embedded", CPU)
    pipeline.steps = 6
    assert told(pipeline) == whole(pipeline)


def test_recipes_change_the_kind_of_arithmetic_not_its_amount():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no fbgemm engine")
    counts = {}
    for name, recipe in {
        "fp32": lambda pipeline: pipeline,
        "bf16": lambda pipeline: cast(pipeline, CPU, dtype="bfloat16"),
        "int8": lambda pipeline: quantize(pipeline, CPU, engine="fbgemm"),
    }.items():
        counts[name] = object_counts(recipe(build_nano_text("embedded", CPU)), PROMPT)["base diffusion"]
    amounts = {name: count.total_flops for name, count in counts.items()}
    assert amounts == dict.fromkeys(counts, amounts["fp32"])
    assert set(counts["fp32"].flops) == {"float32"}
    assert counts["bf16"].flops["bfloat16"] > 0.99 * amounts["bf16"]
    assert 0.5 * amounts["int8"] < counts["int8"].flops["int8"] < amounts["int8"]  # attention stays float32
    assert counts["bf16"].bytes_moved < 0.55 * counts["fp32"].bytes_moved


def test_the_worker_records_the_cost_beside_the_latency():
    job = Job(find("point-e-nano-text/steps-4@cpu"), weights="embedded", quality_prompts=0, time_budget_s=0.2)
    measurement = execution.measure(job, session="test", board="here")
    assert measurement.status == Status.OK, measurement.reason
    stages = measurement.latency.stage_samples_s
    assert set(measurement.cost.stages) == set(stages) == set(measurement.memory.stage_peak_memory_bytes)
    assert sum(found.parameters for found in measurement.cost.stages.values()) == measurement.parameters
    floor_s = sum(found.floor_s for found in measurement.cost.stages.values())
    assert 0.5 < measurement.latency.median.value / floor_s < 100


def test_a_model_that_cannot_be_counted_has_no_cost_and_is_measured_all_the_same():
    job = Job(bad_models.configuration("uncountable"), weights="embedded", quality_prompts=0, time_budget_s=0.2)
    measurement = execution.measure(job, session="test", board="here")
    assert (measurement.status, measurement.cost) == (Status.OK, None)
    assert measurement.latency is not None


def test_the_document_has_the_published_networks_as_they_are_counted():
    assert "\n".join(published_table()) in DOCUMENT.read_text()


def test_the_document_has_the_peaks_that_its_floors_are_from_and_an_objects_sums():
    page = DOCUMENT.read_text()
    assert f"{PEAK.flops_per_s['float32'] / 1e9:.0f} GFLOP/s" in page and f"{PEAK.bytes_per_s / 1e9:.0f} GB/s" in page
    floors = {(row.name, row.batch): row.floor_s for row in rows()}
    for model, parts in OBJECTS.items():
        assert f"| `{model}` | {sum(floors[part] for part in parts):,.0f} |" in page, model


FROM_A_PICTURE = [("SD-Turbo, text", 1), ("SD-Turbo, U-Net", 1), ("SD-Turbo, picture", 1), ("CLIP ViT-L/14, image", 1)]
OBJECTS = {
    "point-e-40m-text": [("CLIP ViT-L/14, text", 1), ("base40M-textvec", 2), ("upsample", 1)],
    "point-e-40m-imagevec": [*FROM_A_PICTURE, ("base40M-imagevec", 2), ("upsample", 2)],
    "point-e-40m-image": [*FROM_A_PICTURE, ("base40M", 2), ("upsample", 2)],
    "point-e-300m-image": [*FROM_A_PICTURE, ("base300M", 2), ("upsample", 2)],
    "point-e-1b-image": [*FROM_A_PICTURE, ("base1B", 2), ("upsample", 2)],
    "shap-e-300m-text": [("CLIP ViT-L/14, text", 1), ("Shap-E 300M, text", 2), ("Shap-E, mesh of 128³", 1)],
    "shap-e-300m-image": [*FROM_A_PICTURE, ("Shap-E 300M, image", 2), ("Shap-E, mesh of 128³", 1)],
}
"""Of what an object is made: which rows, by model."""


def test_every_published_model_has_its_sum():
    assert set(OBJECTS) == {name for name, model in MODELS.items() if model.full_size}


def test_a_decoding_by_a_network_of_its_own_has_its_parameters(monkeypatch):
    monkeypatch.setattr(peaks, "COPY_BYTES", 2**20)
    toy, own = Toy(4), nn.Linear(8, 8, bias=False)
    toy.extra_part = lambda name: (own, "forward")
    assert measure_cost(toy, PROMPT, {}, CPU, lambda: None).extra_stages["views"].parameters == 64


def test_the_documents_comparison_is_within_one_per_cent():
    counted = {(row.name, row.batch): row.evaluation.total_flops / 1e9 for row in rows()}
    lines = re.findall(
        r"^\| ([\w ,-]+), batch (\d) \| ([\d,.]+) \| ([\d,.]+) \| ([+−]?[\d.]+) % \|$", DOCUMENT.read_text(), re.M
    )
    assert len(lines) == 8
    for name, batch, ours, theirs, apart in lines:
        ours, theirs = (float(text.replace(",", "")) for text in (ours, theirs))
        assert ours == round(counted[name, int(batch)], 1)
        assert float(apart.replace("−", "-")) == pytest.approx(100 * (ours / theirs - 1), abs=0.05), name
        assert abs(ours / theirs - 1) < 0.01, name
