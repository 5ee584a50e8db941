"""Chamfer distance between point clouds."""

from __future__ import annotations

import torch
from torch import Tensor


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """Mean distance to the nearest point of the other cloud, averaged over both ways: [B, N, 3], [B, M, 3] -> [B].

    In the unit of the coordinates; Fan et al. 2017, arXiv:1612.00603, without the squares.
    """
    distances = torch.cdist(a, b)
    return (distances.amin(2).mean(1) + distances.amin(1).mean(1)) / 2
