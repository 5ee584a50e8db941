"""The distance to the model's own fp32 object from the same noise."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from suite.building import build
from suite.configurations import find
from suite.metrics.attributes import NO_SCENES
from suite.metrics.fp32_objects import FILE, KEPT, NONE_KEPT, RADIUS, as_kept, distance_and_f_score, kept, to_fp32
from suite.metrics.quality import Judge
from suite.metrics.scoring import measure_quality
from suite.prompts import load_prompts
from suite.records import Quality
from suite.training.keep_fp32_objects import fp32_of, points_of

EMBEDDED = ("point-e-nano-text", "point-e-nano-image", "shap-e-nano-text", "shap-e-nano-image")


def test_by_hand():
    near, far = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.04]]), torch.tensor([[0.0, 0.0, 1.0]])
    both = torch.cat([near, far])
    assert distance_and_f_score(near, near) == (0.0, 1.0)
    distance, f_score = distance_and_f_score(near, both)
    assert distance == pytest.approx((0 + 0.96 / 3) / 2)
    assert f_score == pytest.approx(2 * (1 * 2 / 3) / (1 + 2 / 3))  # precision 1, recall 2 of 3
    assert distance_and_f_score(near[:1], far) == (1.0, 0.0)


def test_the_radius_is_stated_and_counts():
    a, b = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, RADIUS * 1.01]])
    assert distance_and_f_score(a, b)[1] == 0.0 and distance_and_f_score(a, b, radius=RADIUS * 1.02)[1] == 1.0


def test_sixteen_bits_lose_next_to_nothing():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (as_kept(points) / 32_000 - points).abs().max() < 2e-5


@pytest.mark.parametrize("model", EMBEDDED)
def test_the_kept_objects_are_of_these_weights_and_prompts(model):
    with safe_open(FILE, "pt") as file:
        told = file.metadata()
    prompts = list(load_prompts("embedded").prompts[:KEPT])
    assert json.loads(told["weights_sha256"])[model] == fp32_of(model).weights_sha256
    assert json.loads(told["prompts"]) == prompts and list(kept(model)) == prompts
    assert FILE.stat().st_size < 1_000_000


def test_fp32_makes_the_kept_object_again():
    """On another processor sums round otherwise; the object is the same one."""
    prompt = load_prompts("embedded").prompts[0]
    again = points_of(fp32_of("shap-e-nano-text"), [prompt])[0]
    distance, f_score = distance_and_f_score(again, kept("shap-e-nano-text")[prompt])
    assert distance < 0.01 and f_score > 0.99


def test_damage_shows_where_both_are_recognized():
    """Whatever is first of 153 still lies somewhere; a ruined object lies far off."""
    judge, device = Judge(), torch.device("cpu")

    def scored(recipe: str):
        return measure_quality(
            build(find(f"point-e-nano-text/{recipe}@cpu"), "embedded", device), judge, 4, batch_size=4, diversity=False
        )[0]

    student, ruined = scored("distilled-2+copied-points"), scored("steps-4+copied-points")
    assert student.r_precision.value == 1.0 and student.f_score_to_fp32.value < 0.999
    assert ruined.f_score_to_fp32.value < student.f_score_to_fp32.value - 0.1
    assert ruined.chamfer_to_fp32.value > 1.5 * student.chamfer_to_fp32.value
    assert student.not_known == {}


def test_what_is_not_known_is_null_with_the_reason():
    judge = Judge()
    judge._scenes = lambda prompts: {}
    made = measure_quality(
        SimpleNamespace(generate=lambda p, sample=0: torch.rand(1, 64, 6)), judge, 1, diversity=False
    )
    quality = made[0]
    assert (quality.chamfer_to_fp32, quality.f_score_to_fp32, quality.attributes) == (None, None, {})
    assert quality.not_known == {
        "chamfer_to_fp32": NONE_KEPT,
        "f_score_to_fp32": NONE_KEPT,
        "attributes": NO_SCENES,
    }
    assert Quality.model_validate_json(quality.model_dump_json()) == quality


def test_where_none_is_kept_nothing_is_said():
    clouds = torch.rand(2, 64, 6)
    assert to_fp32("another-model", clouds, ["a red ball", "a blue cube"]) == [None, None]
    assert to_fp32("point-e-nano-text", clouds, ["a red ball", "a blue cube"]) == [None, None]
    first = load_prompts("embedded").prompts[0]
    clouds[1] = math.nan
    known = to_fp32("point-e-nano-text", clouds, [first, first])
    assert known[0] is not None and known[1] is None
