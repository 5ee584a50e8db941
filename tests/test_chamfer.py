"""The distance between point clouds."""

from __future__ import annotations

import pytest
import torch

from suite.metrics.chamfer import chamfer


def cloud(seed: int, count: int = 256) -> torch.Tensor:
    return torch.rand(2, count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_cloud_is_at_no_distance_from_itself_wherever_it_lies():
    """Squares of coordinates cancel badly: distances by a matrix product leave 4e-5 here, and more away from 0."""
    for shift in (0.0, 10.0):
        assert chamfer(cloud(0) + shift, cloud(0) + shift).tolist() == [0.0, 0.0]


def test_it_is_the_mean_distance_to_the_nearest_point_both_ways():
    a, b = cloud(1, 40), cloud(2, 60)
    away = (a.double()[:, :, None] - b.double()[:, None]).square().sum(-1).sqrt()
    expected = (away.amin(2).mean(1) + away.amin(1).mean(1)) / 2
    assert chamfer(a, b).tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert torch.allclose(chamfer(a, b), chamfer(b, a))


def test_it_is_in_the_unit_of_the_coordinates():
    a, b = torch.zeros(1, 1, 3), torch.tensor([[[3.0, 4.0, 0.0]]])
    assert chamfer(a, b).tolist() == [5.0]
