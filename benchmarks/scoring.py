"""How many prompts a second are scored: one object after the other by one process, against batches by a process a core.

    .venv/bin/python benchmarks/scoring.py [RECIPE...] [--prompts 32] [--rounds 5] [--batch 8]

RECIPE: model/optimization; the four embedded references and point-e-nano-text/distilled-2 by default. Both ways make
and score the same prompts in turn. Prints the prompts a second of each, the ratio (median over rounds, 95 % interval by
bootstrap), which share of the machine's measured peak of float32 products the second way reaches, and whether both
gave every prompt the same ranks.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from ratios import said

from suite.building import build
from suite.catalogue.devices import find_device
from suite.configurations import find
from suite.devices.backend import backend_of
from suite.metrics.cost import object_counts
from suite.metrics.peaks import machine_peak
from suite.metrics.quality import Judge
from suite.metrics.scoring import BATCH_SIZE, measure_quality
from suite.models.pipeline import Pipeline
from suite.records import Quality
from suite.worker import execution
from suite.worker.job import Job
from suite.worker.launching import launcher_of

RECIPES = [
    "point-e-nano-text/distilled-2",
    "shap-e-nano-text/fp32",
    "shap-e-nano-image/fp32",
    "point-e-nano-image/fp32",
    "point-e-nano-text/fp32",
]


def timed_quality(pipeline: Pipeline, judge: Judge, job: Job, threads: int, batch: int | None) -> tuple[float, Quality]:
    """Seconds and outcomes; with helpers where a batch size is given."""
    torch.set_num_threads(threads if batch is None else 1)
    started = time.perf_counter()
    if batch is None:
        quality = measure_quality(pipeline, judge, job.quality_prompts)[0]
    else:
        with execution.Crew(job) as crew:
            crew.start()
            quality = measure_quality(pipeline, judge, job.quality_prompts, batch_size=batch, lead=crew.lead)[0]
    return time.perf_counter() - started, quality


def ranks(quality: Quality) -> list[tuple[int, int | None]]:
    return [(outcome.rank_153, outcome.rank_3001) for outcome in quality.outcomes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=BATCH_SIZE, help="helpers take the suite's own")
    options = parser.parse_args()
    launcher_of(find_device("cpu")).get_ready([find(f"{recipe}@cpu") for recipe in options.recipes])
    judge = Judge()
    for recipe in options.recipes:
        configuration = find(f"{recipe}@cpu")
        backend = backend_of(configuration.device)
        device = backend.torch_device()
        threads = torch.get_num_threads()
        pipeline = build(configuration, "embedded", device)
        work = sum(sum(count.flops.values()) for count in object_counts(pipeline, judge.prompts[0]).values())
        job = Job(configuration, "embedded", quality_prompts=options.prompts)
        seconds: dict[str, list[float]] = {"before": [], "now": []}
        found: dict[str, Quality] = {}
        for number in range(options.rounds):
            ways = [("before", None), ("now", options.batch)]
            for way, batch in ways if number % 2 == 0 else reversed(ways):
                spent, found[way] = timed_quality(pipeline, judge, job, threads, batch)
                seconds[way].append(spent)
        torch.set_num_threads(threads)
        peak = machine_peak(device, backend.synchronize, ["float32"]).flops_per_s["float32"]
        objects = options.prompts + min(options.prompts, 16)  # a second one of the first prompts, for diversity
        rate = {way: options.prompts / median(values) for way, values in seconds.items()}
        share = work * objects / options.prompts * rate["now"] / peak
        print(
            f"{recipe}: {rate['before']:.2f} prompts a second before, {rate['now']:.2f} now, "
            f"{said([a / b for a, b in zip(seconds['before'], seconds['now'])])} times; "
            f"{share:.0%} of the measured peak; "
            f"ranks {'the same' if ranks(found['before']) == ranks(found['now']) else 'DIFFER'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
