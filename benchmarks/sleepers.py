"""Models that sleep instead of computing, for `benchmarks/kills.py`: sessions of many cells in little time."""

from __future__ import annotations

import time

import torch

from suite.catalogue.models import Model
from suite.models.pipeline import Pipeline

CELLS = 6
OBJECT_S = 0.02


class Sleeper(Pipeline):
    """Prompts -> clouds [B, 8, 6] of zeros."""

    model, weights_sha256 = "sleeper", None

    def __init__(self) -> None:
        self.networks = {"sleep": torch.nn.Linear(1, 1)}

    def make(self, prompts, sample, stage):
        with stage("sleep"):
            time.sleep(OBJECT_S)
        return torch.zeros(len(prompts), 8, 6)


def build(weights: str, device: torch.device) -> Sleeper:
    return Sleeper()


ENTRIES = [
    Model(
        name=f"sleeper-{number}",
        family="sleeper",
        builder="benchmarks.sleepers:build",
        conditioning="text",
        output="8 points",
        stages=("sleep",),
        prompts="embedded",
        weights=("embedded",),
        source="benchmarks/kills.py",
    )
    for number in range(1, CELLS + 1)
]
