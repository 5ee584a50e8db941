"""A fixed piece of work that says how fast this processor is today, so that limits in seconds can travel."""

from __future__ import annotations

import time
from statistics import median

import torch

SIZE, COPY_FLOATS, ROUNDS = 512, 4 * 2**20, 9


def canary_s() -> float:
    """Median seconds of one 512³ float32 matrix product plus one copy of 16 MiB, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(SIZE, SIZE, generator=generator)
    source = torch.randn(COPY_FLOATS, generator=generator)
    target = torch.empty_like(source)
    samples = []
    for _ in range(ROUNDS + 2):
        started = time.perf_counter()
        a @ a
        target.copy_(source)
        samples.append(time.perf_counter() - started)
    return median(samples[2:])  # the first calls start threads
