"""Meshes from a field that is asked near its surface alone, or on a coarser grid."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.shap_e.near_surface import Refinement, near_surface
from suite.optimizations.decoding.sparse_decode import refine
from suite.optimizations.sampling.steps import set_steps
from suite.scenes.gallery import GALLERY
from tests.techniques import CPU, pipeline


def ball(positions: torch.Tensor) -> torch.Tensor:
    return 0.4 - (positions - torch.tensor([0.3, -0.2, 0.1])).norm(dim=-1)


@pytest.mark.parametrize("size, stride", [(64, 3), (65, 8), (50, 7), (16, 1)])
def test_near_the_surface_the_field_is_the_whole_grids(size, stride):
    asked = []

    def ask(positions):
        asked.append(len(positions))
        return ball(positions)

    whole = near_surface(ball, size, 1.0, None, CPU)
    made = near_surface(ask, size, 1.0, Refinement(stride, 1.0), CPU)
    assert torch.equal(made > 0, whole > 0)
    # Both ends of every edge that the surface crosses are asked.
    for dimension in range(3):
        crossed = (whole > 0).diff(dim=dimension)
        for end in (0, 1):
            ours, theirs = (field.narrow(dimension, end, size - 1)[crossed] for field in (made, whole))
            assert torch.allclose(ours, theirs, atol=1e-6)  # sums of other batches
    if stride == 3:
        assert sum(asked) < size**3 / 4


def test_a_field_without_a_surface_is_asked_on_the_coarse_grid_alone():
    asked = []

    def ask(positions):
        asked.append(len(positions))
        return torch.full((len(positions),), -9.0)

    assert (near_surface(ask, 33, 1.0, Refinement(4, 1.0), CPU) == -9).all() and asked == [9**3, 0]


def test_skipping_empty_space_makes_the_same_meshes():
    prompts = json.loads(GALLERY.read_text())["tuning"][:4]
    made = set_steps(pipeline(model="shap-e-nano-text"), CPU, steps=8)
    whole = made.generate(prompts)
    calls = asked_points(made)
    sparse = refine(made, CPU, stride=3, margin=1.25).generate(prompts)
    assert sum(calls) < 0.35 * len(prompts) * made.grid**3
    for ours, theirs in zip(sparse, whole):
        assert torch.equal(ours.faces, theirs.faces)
        assert torch.allclose(ours.vertices, theirs.vertices, atol=1e-5)
        assert torch.allclose(ours.colours, theirs.colours, atol=1e-3)


def test_a_coarser_grid_makes_nearly_the_same_surface_of_far_fewer_points():
    from scipy.spatial import cKDTree

    prompts = json.loads(GALLERY.read_text())["tuning"][:4]
    made = set_steps(pipeline(model="shap-e-nano-text"), CPU, steps=8)
    whole = made.generate(prompts)
    calls = asked_points(made)
    coarse = refine(made, CPU, stride=3, margin=1.25, coarser=2).generate(prompts)
    assert made.grid == 32 and sum(calls) < 0.07 * len(prompts) * 64**3
    for ours, theirs in zip(coarse, whole):
        spacings = cKDTree(theirs.vertices).query(ours.vertices)[0] / (2 / 31)
        assert np.quantile(spacings, 0.95) < 0.4 and spacings.max() < 0.8


def asked_points(made) -> list[int]:
    calls, ask_part = [], made.ask_part
    made.ask_part = lambda weights, positions: (calls.append(len(positions)), ask_part(weights, positions))[1]
    return calls


def test_a_model_without_a_field_has_no_empty_space_to_skip():
    with pytest.raises(UnsupportedRecipe, match="point-e-nano-text decodes no field"):
        refine(pipeline(), CPU, stride=3, margin=1.0)
    with pytest.raises(ValueError, match="stride: 0 is not possible"):
        refine(pipeline(model="shap-e-nano-text"), CPU, stride=0, margin=1.0)
    with pytest.raises(ValueError, match="coarser: 0 is not possible"):
        refine(pipeline(model="shap-e-nano-text"), CPU, stride=3, margin=1.0, coarser=0)
