"""What the harness adds to timed work, against a bare loop over the same pipeline, interleaved.

    .venv/bin/python benchmarks/overhead.py [--rounds 60] [--optimization steps-16]

Each round times one object by the harness's `time_call` (stage clock, synchronization) and one by a bare
`perf_counter` around `generate`, in alternating order. Prints the median ratio with its 95 % interval (bootstrap over
pairs), and the ratio of two bare loops, which is the noise.
"""

from __future__ import annotations

import argparse
import time
from statistics import fmean, median

from ratios import interval

from suite.building import build
from suite.configurations import find
from suite.devices.backend import backend_of
from suite.metrics.latency import time_call
from suite.prompts import TIMING_PROMPTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--optimization", default="steps-16")
    options = parser.parse_args()
    configuration = find(f"point-e-nano-text/{options.optimization}@cpu")
    backend = backend_of(configuration.device)
    pipeline = build(configuration, "embedded", backend.torch_device())
    prompt = [TIMING_PROMPTS["embedded"]]

    def harness() -> float:
        return time_call(lambda stage: pipeline.generate(prompt, stage=stage), backend.synchronize)[0]

    def bare() -> float:
        started = time.perf_counter()
        pipeline.generate(prompt)
        return time.perf_counter() - started

    for _ in range(3):
        harness(), bare()
    ratios, noise = [], []
    for k in range(options.rounds):
        place = k % 3  # each place in turn, since the machine's speed drifts
        order = [bare, bare]
        order.insert(place, harness)
        seconds = [run() for run in order]
        timed = seconds.pop(place)
        first_bare, second_bare = seconds
        ratios.append(timed / fmean(seconds))
        noise.append(first_bare / second_bare)
    for name, values in (("harness / bare", ratios), ("bare / bare", noise)):
        low, high = interval(values)
        print(f"{name}: median ratio {median(values):.4f} (95 % interval {low:.4f} to {high:.4f}, {len(values)} pairs)")


if __name__ == "__main__":
    main()
