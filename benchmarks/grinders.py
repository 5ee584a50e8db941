"""Models that multiply matrices, on a device whose latencies are compared in seconds, for `benchmarks/events_here.py`.

What an event changes are the constants below: the event's commit writes others here.
"""

from __future__ import annotations

import time

import torch

from suite.catalogue.devices import Device
from suite.catalogue.models import Model
from suite.models.pipeline import Pipeline

CELLS = 6
EVALUATIONS: dict[int, int] = {}  # of a cell's network an object, where not PLAIN
OVERHEAD: dict[int, int] = {}  # of a cell an object, in milliseconds: no arithmetic that is counted
PLAIN, SIZE = 20, 384


class Grinder(Pipeline):
    """Prompts -> clouds [B, 8, 6] of zeros."""

    weights_sha256 = None

    def __init__(self, number: int) -> None:
        self.model, self.number = f"grinder-{number}", number
        self.networks = {"grind": torch.nn.Linear(SIZE, SIZE, bias=False)}
        self.diffusion = ("grind",)
        self.x = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    @property
    def stage_evaluations(self) -> dict[str, int]:
        return {"grind": EVALUATIONS.get(self.number, PLAIN)}

    def make(self, prompts, sample, stage):
        with stage("grind"), torch.inference_mode():
            for _ in range(self.evaluations):
                self.networks["grind"](self.x)
            time.sleep(OVERHEAD.get(self.number, 0) / 1000)
        return torch.zeros(len(prompts), 8, 6)


def _builder(number: int):
    return lambda weights, device: Grinder(number)


build_1, build_2, build_3, build_4, build_5, build_6 = map(_builder, range(1, CELLS + 1))

DESK = Device(
    name="desk",
    title="this machine's processor, in seconds",
    kind="cpu",
    backend="suite.devices.cpu:Cpu",
    source="benchmarks/events_here.py",
)
ENTRIES = [
    DESK,
    *(
        Model(
            name=f"grinder-{number}",
            family="grinder",
            builder=f"benchmarks.grinders:build_{number}",
            conditioning="text",
            output="8 points",
            stages=("grind",),
            prompts="embedded",
            weights=("embedded",),
            source="benchmarks/events_here.py",
        )
        for number in range(1, CELLS + 1)
    ),
]
