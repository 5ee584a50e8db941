"""Equal tokens of an absent condition as one: the same output from fewer tokens, and where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from suite.catalogue.optimizations import find_optimization
from suite.catalogue.recipes import ImpossibleComposition, UnsupportedRecipe
from suite.models.checkpoints.networks import random_network
from suite.models.point_e.network import PointDiffusionTransformer, PointTransformerSettings
from suite.optimizations.execution.merged_tokens import apart
from tests.techniques import CPU, distance, engine_or_skip, objects, pipeline, reference

PICTURES, POINTS, LOW = 20, 30, 24  # tokens of a picture, new points, points of the stage before
SMALL = dict(points=POINTS, width=64, layers=3, heads=4, clip_width=48, clip_tokens=PICTURES)
GRID = PointTransformerSettings(conditioning="grid", **SMALL)
UPSAMPLER = PointTransformerSettings(conditioning="grid+points", low_resolution_points=LOW, **SMALL)
TOLERANCE = 1e-5


def network_of(settings: PointTransformerSettings) -> PointDiffusionTransformer:
    return random_network(lambda: PointDiffusionTransformer(settings), CPU, torch.float32).eval()


def given(settings: PointTransformerSettings, rows: str) -> dict[str, Tensor]:
    """A letter a row: b has both conditions, p the picture alone, l the points alone, n none."""
    generator = torch.Generator().manual_seed(3)
    made = {
        "x": torch.randn(len(rows), 6, POINTS, generator=generator),
        "t": torch.arange(len(rows)) * 100.0 + 7,
        "clip": torch.randn(len(rows), PICTURES, settings.clip_width, generator=generator),
    }
    made["clip"][[row in "ln" for row in rows]] = 0
    if settings.low_resolution_points:
        made["low_resolution"] = torch.rand(len(rows), 6, LOW, generator=generator)
        made["low_resolution"][[row in "pn" for row in rows]] = 0
    return made


def tokens_seen(network: PointDiffusionTransformer) -> list[tuple[int, int]]:
    """Rows and tokens of each call of the backbone, as calls are made."""
    seen: list[tuple[int, int]] = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[:2])))
    return seen


def error(made: Tensor, expected: Tensor) -> float:
    return ((made - expected).norm() / expected.norm()).item()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("settings", "rows", "expected"),
    [
        (GRID, "pn", [(1, 1 + PICTURES + POINTS), (1, 2 + POINTS)]),
        (GRID, "npnp", [(2, 2 + POINTS), (2, 1 + PICTURES + POINTS)]),
        (GRID, "nn", [(2, 2 + POINTS)]),
        (UPSAMPLER, "bn", [(1, 1 + PICTURES + LOW + POINTS), (1, 3 + POINTS)]),
        (UPSAMPLER, "lb", [(1, 2 + LOW + POINTS), (1, 1 + PICTURES + LOW + POINTS)]),
        (
            UPSAMPLER,
            "pnlb",
            [(1, 2 + PICTURES + POINTS), (1, 3 + POINTS), (1, 2 + LOW + POINTS), (1, 1 + PICTURES + LOW + POINTS)],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_output_is_the_same_row_by_row_and_equal_tokens_are_seen_once(settings, rows, expected):
    network, inputs = network_of(settings), given(settings, rows)
    whole = network(**inputs)
    merged, seen = apart(network.forward, settings), tokens_seen(network)
    made = merged(**inputs)
    assert seen == expected
    for row in range(len(rows)):
        assert error(made[row], whole[row]) < TOLERANCE


@torch.inference_mode()
def test_no_picture_at_all_is_one_token_too():
    network = network_of(GRID)
    inputs = {name: value for name, value in given(GRID, "nn").items() if name != "clip"}
    expected = network(**inputs)
    merged, seen = apart(network.forward, GRID), tokens_seen(network)
    assert error(merged(**inputs), expected) < TOLERANCE
    assert seen == [(2, 2 + POINTS)]


@torch.inference_mode()
def test_a_token_that_counts_once_too_little_would_be_found():
    network, inputs = network_of(GRID), given(GRID, "n")
    expected = network(**inputs)
    inputs["clip"] = inputs["clip"][:, :1]
    assert error(network(**inputs, counts=(PICTURES,)), expected) < TOLERANCE
    assert error(network(**inputs, counts=(PICTURES - 1,)), expected) > 10 * TOLERANCE


@torch.inference_mode()
def test_counts_that_do_not_fit_the_conditions_are_refused():
    network, inputs = network_of(GRID), given(GRID, "n")
    with pytest.raises(ValueError, match=r"counts \(20, 24\) do not fit the conditions of 'grid'"):
        network(**inputs, counts=(PICTURES, LOW))


def test_objects_through_pictures_stay_the_references():
    made = pipeline("merged-tokens", "point-e-nano-image")
    seen = tokens_seen(made.networks["base diffusion"])
    cloud = objects(made)
    picture, points = made.networks["base diffusion"].settings.clip_tokens, 256
    assert set(seen) == {(2, 1 + picture + points), (2, 2 + points)}
    assert distance(cloud, reference("point-e-nano-image")) < 1e-3


def test_it_composes_with_integers_and_is_no_more_off_than_they_may_be():
    engine_or_skip()
    made = pipeline("int8-fbgemm-linear+merged-tokens", "point-e-nano-image")
    assert 0 < distance(objects(made), reference("point-e-nano-image")) < 0.05


def test_where_no_tokens_are_equal_it_is_unsupported():
    for model in ("point-e-nano-text", "shap-e-nano-text"):
        with pytest.raises(UnsupportedRecipe, match=f"{model} has no network with equal tokens"):
            pipeline("merged-tokens", model)


@pytest.mark.parametrize("unguided", ["distilled-2", "one-evaluation"])
def test_without_guidance_no_condition_is_absent_and_it_is_unsupported(unguided):
    with pytest.raises(UnsupportedRecipe, match="point-e-nano-image is not guided"):
        pipeline(f"{unguided}+merged-tokens", "point-e-nano-image")


def test_it_comes_last_and_not_around_a_network_that_torch_does_not_run():
    pytest.importorskip("onnxruntime")
    with pytest.raises(ImpossibleComposition, match=r"write bf16\+merged-tokens"):
        find_optimization("merged-tokens+bf16")
    with pytest.raises(UnsupportedRecipe, match="is run outside torch"):
        pipeline("onnx+merged-tokens", "point-e-nano-image")
