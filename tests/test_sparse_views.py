"""NeRF views that skip empty space: the same pictures from a part of the questions."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.sampling.noise import generator
from suite.models.shap_e.empty_space import occupied, where_occupied
from suite.models.shap_e.views import CoarseToFine, render_views
from suite.optimizations.decoding.sparse_views import skip
from suite.scenes.gallery import GALLERY
from tests.techniques import CPU, pipeline

MODEL = "shap-e-nano-text"
PROMPTS = json.loads(GALLERY.read_text())["tuning"][:3]


def ball(positions: torch.Tensor) -> torch.Tensor:
    """Density in a ball of radius 0.3 round (0.5, 0, -0.25), then the position."""
    away = (positions - positions.new_tensor([0.5, 0.0, -0.25])).norm(dim=-1)
    return torch.cat([(away < 0.3).float()[:, None], positions], -1)


def asked_points(made) -> list[int]:
    calls, ask_part = [], made.ask_part
    made.ask_part = lambda weights, positions: (calls.append(len(positions)), ask_part(weights, positions))[1]
    return calls


def psnr_db(made: torch.Tensor, reference: torch.Tensor) -> float:
    return -10 * (made - reference).square().mean().log10().item()


def test_cells_with_something_and_those_beside_them_are_occupied():
    grid = occupied(ball, 16, CPU)

    def away(cell: list[int]) -> torch.Tensor:
        middle = [(c + 0.5) / 8 - 1 for c in cell]
        return (torch.tensor(middle) - torch.tensor([0.5, 0.0, -0.25])).norm()

    for cell in torch.cartesian_prod(*[torch.arange(16)] * 3).tolist():
        if away(cell) < 0.3:
            assert grid[tuple(cell)]
        elif away(cell) > 0.3 + 3 * 3**0.5 / 8:
            assert not grid[tuple(cell)]


def test_the_field_is_the_same_where_something_is_and_zero_where_it_is_not_asked():
    positions = 2 * torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) - 1
    asked = []
    field = where_occupied(lambda p: asked.append(p) or ball(p), 16, CPU)
    made, whole = field(positions), ball(positions)
    there = whole[:, 0] > 0
    assert torch.equal(made[there], whole[there])
    assert len(asked[1]) < 0.15 * len(positions) and made[~there, 0].abs().max() == 0


def test_empty_everywhere_is_an_empty_picture():
    nothing = where_occupied(lambda p: p.new_zeros(len(p), 4), 8, CPU)
    assert nothing(torch.zeros(5, 3)).shape == (5, 4)


@cache
def latent_of(prompt: str) -> torch.Tensor:
    return pipeline(model=MODEL).latents([prompt])


@pytest.mark.parametrize(("fewer", "least_db", "share"), [(1, 60, 0.2), (2, 35, 0.11)])
def test_views_are_those_of_all_samples_from_a_fraction_of_the_questions(fewer, least_db, share):
    whole, made = pipeline(model=MODEL), skip(pipeline(model=MODEL), CPU, cells=32, fewer=fewer)
    for prompt in PROMPTS:
        latent = latent_of(prompt)
        all_of_them, some = asked_points(whole), asked_points(made)
        views = [p.views(latent, generator("views", MODEL, prompt, 0), count=3) for p in (whole, made)]
        assert psnr_db(views[1], views[0]) > least_db
        # Beside the lattice, which is a larger part of three views than of twenty.
        assert sum(some) - 33**3 < share * sum(all_of_them)


def test_samples_drawn_coarse_to_fine_are_the_same_draws():
    azimuth, made = torch.tensor([30.0]), {}
    for cells in (None, 32):
        field = ball if cells is None else where_occupied(ball, cells, CPU)

        def density_and_colour(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 10 * field(p)[:, 0], (field(p)[:, 1:] + 1) / 2

        along = CoarseToFine(lambda p: 10 * field(p)[:, 0], torch.Generator().manual_seed(1), 16, 16)
        made[cells] = render_views(density_and_colour, azimuth, 24, along)
    assert torch.allclose(made[None], made[32], atol=1e-6)


def test_what_is_not_possible_is_said():
    with pytest.raises(UnsupportedRecipe, match="point-e-nano-text has no NeRF views"):
        skip(pipeline(), CPU, cells=32)
    with pytest.raises(ValueError, match="cells: 0 is not possible"):
        skip(pipeline(model=MODEL), CPU, cells=0)
    with pytest.raises(ValueError, match="fewer: 65 is not possible; at most 64, the samples along a ray"):
        skip(pipeline(model=MODEL), CPU, cells=32, fewer=65)


def test_a_stage_whose_parts_hang_on_answers_is_not_told_from_a_few():
    made = pipeline(model=MODEL)
    assert made.extra_part("NeRF views") == (made, "ask_part")
    assert skip(made, CPU, cells=32).extra_part("NeRF views") is None
