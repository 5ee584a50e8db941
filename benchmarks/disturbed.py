"""What it costs to ask the kernel what others took from a sample, and what it tells: `python benchmarks/disturbed.py`.

Objects are made in turn without and with the accounts read before and after. Printed are the reading's own time, the
ratio of the two at three quantiles, and the spread of the samples that were quiet and of those that were disturbed.
"""

from __future__ import annotations

import argparse
import time
from statistics import mean, median, quantiles, stdev

import torch

from suite.building import build
from suite.configurations import find
from suite.devices.waits import taken, waits
from suite.metrics.latency import time_call

PROMPT = "a small red cube on a large blue ball"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="point-e-nano-text/distilled-2+copied-points@cpu")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    pipeline = build(find(asked.cell), "embedded", torch.device("cpu"))

    def timed() -> float:
        return time_call(lambda stage: pipeline.generate([PROMPT], stage=stage), lambda: None)[0]

    for _ in range(3):
        timed()
    readings, without, quiet, disturbed = [], [], [], []
    for _ in range(asked.pairs):
        without.append(timed())
        started = time.perf_counter()
        before = waits()
        readings.append(time.perf_counter() - started)
        seconds = timed()
        (disturbed if taken(before, waits(), seconds) else quiet).append(seconds)
    print(f"one reading of {len(before.queued_s)} threads: {median(readings) * 1e6:.0f} µs (median)")
    for name, a, b in zip(("lower", "middle", "upper"), quantiles(without), quantiles(quiet + disturbed)):
        print(f"{name} quartile: {a * 1000:.2f} ms without, {b * 1000:.2f} ms with, ratio {b / a:.4f}")
    for name, samples in (("quiet", quiet), ("disturbed", disturbed)):
        if len(samples) > 1:
            spread = stdev(samples) / mean(samples)
            print(f"{len(samples)} {name}: median {median(samples) * 1000:.2f} ms, deviation {spread:.0%} of the mean")


if __name__ == "__main__":
    main()
