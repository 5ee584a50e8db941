"""A fixed piece of work that says how fast this processor is just now, so that limits in seconds can travel.

It runs before the model is loaded and between the timed rounds of the reference: on a shared machine the speed of one
moment says little about the next minute.
"""

from __future__ import annotations

import time
from statistics import median

import torch

SIZE, COPY_FLOATS, ROUNDS, ROUNDS_BETWEEN = 512, 4 * 2**20, 9, 3


class Canary:
    """Seconds of one 512³ float32 matrix product plus one copy of 16 MiB, on the CPU."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self._a = torch.randn(SIZE, SIZE, generator=generator)
        self._source = torch.randn(COPY_FLOATS, generator=generator)
        self._target = torch.empty_like(self._source)
        self.samples_s: list[float] = []
        self.run(2)
        self.samples_s.clear()  # the first calls start threads
        self.run(ROUNDS)

    def run(self, rounds: int = ROUNDS_BETWEEN) -> None:
        for _ in range(rounds):
            started = time.perf_counter()
            self._a @ self._a
            self._target.copy_(self._source)
            self.samples_s.append(time.perf_counter() - started)

    @property
    def median_s(self) -> float:
        return median(self.samples_s)
