"""One evaluation of Point-E's networks, ours against the original's, interleaved, and the upsampler's peak memory.

    .venv/bin/python benchmarks/originals.py [--rounds 7] [--threads 1] [--skip-memory]

Needs the original (docs/parity.md). Float32, weights of seeded noise shared by both, outputs compared in the same run.
Each round times every variant once, in an order that turns; a ratio is taken within its round. "ours" is the `fp32`
recipe (eager, SDPA), "ours, oneDNN" the `onednn` recipe. Memory is the process's peak above its level before the
network was made, each variant in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import time
from statistics import median

import torch

from suite.models.full_size import random_network
from suite.models.original_point_e import original_network
from suite.models.point_e_network import PUBLISHED, PointDiffusionTransformer
from suite.optimizations.onednn import absent, replace_linears

CASES = (("base40M", 2), ("upsample", 2), ("upsample", 1))  # the last as in text mode, unguided
VARIANTS = ("original", "ours", "ours, oneDNN")


def inputs(name: str, batch: int) -> dict[str, torch.Tensor]:
    """As guidance makes them: the second row has no condition."""
    generator = torch.Generator().manual_seed(5)
    settings = PUBLISHED[name]
    given = {
        "x": torch.randn(batch, 6, settings.points, generator=generator),
        "t": torch.full((batch,), 801),
        "clip": torch.randn(batch, 256, 1024, generator=generator),
    }
    if settings.low_resolution_points:
        xyz, rgb = torch.rand(2, batch, 3, settings.low_resolution_points, generator=generator)
        given["low_resolution"] = torch.cat([xyz - 0.5, 255 * rgb], 1)
    for condition in ("clip", "low_resolution"):
        if condition in given:
            given[condition][1:] = 0
    return given


def call_of(name: str, batch: int, variant: str, weights: dict[str, torch.Tensor] | None = None):
    """One evaluation as a function without arguments, and the weights that it runs on."""
    ours = random_network(lambda: PointDiffusionTransformer(PUBLISHED[name]), torch.device("cpu"))
    if weights is not None:
        ours.load_state_dict(weights, assign=True)
    ours.eval().requires_grad_(False)
    weights = ours.state_dict()
    given = inputs(name, batch)
    network = ours
    if variant == "original":
        network = original_network(name, torch.device("meta"))
        network.load_state_dict(weights, assign=True)
        network.requires_grad_(False)
        given["embeddings"] = given.pop("clip").transpose(1, 2)
        if "low_resolution" in given:
            given["low_res"] = given.pop("low_resolution")
    elif variant == "ours, oneDNN":
        replace_linears(ours)
    return lambda: network(**given), weights


@torch.inference_mode()
def compare(name: str, batch: int, rounds: int) -> None:
    weights, calls = None, {}
    for variant in VARIANTS:
        calls[variant], weights = call_of(name, batch, variant, weights)
    outputs = {variant: call() for variant, call in calls.items()}  # warms up, too
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for k in range(rounds):
        for variant in VARIANTS[k % 3 :] + VARIANTS[: k % 3]:
            started = time.perf_counter()
            calls[variant]()
            seconds[variant].append(time.perf_counter() - started)
    theirs = outputs["original"]
    print(f"{name}, batch {batch}: original {median(seconds['original']):.2f} s an evaluation, {rounds} rounds")
    for variant in VARIANTS[1:]:
        ratios = sorted(a / b for a, b in zip(seconds["original"], seconds[variant]))
        error = ((outputs[variant] - theirs).norm() / theirs.norm()).item()
        print(
            f"  {variant}: {median(seconds[variant]):.2f} s, {median(ratios):.2f}x faster "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}), relative error {error:.1e}",
            flush=True,
        )
    calls.clear()
    gc.collect()


def peak_bytes(name: str, batch: int, variant: str, threads: int) -> int:
    """In a fresh process: its highest resident set above the level before the network was made."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_bytes, (name, batch, variant, threads))


@torch.inference_mode()
def _peak_bytes(name: str, batch: int, variant: str, threads: int) -> int:
    torch.set_num_threads(threads)
    before = _status("VmRSS")
    call, _ = call_of(name, batch, variant)
    call()
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-memory", action="store_true")
    options = parser.parse_args()
    if reason := absent():
        raise SystemExit(reason)
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), CPU capability {torch.backends.cpu.get_cpu_capability()}"
    )
    for name, batch in CASES:
        compare(name, batch, options.rounds)
    if not options.skip_memory:
        for name, batch in CASES:
            peaks = {v: peak_bytes(name, batch, v, options.threads) for v in VARIANTS}
            line = "; ".join(
                f"{v} {peak / 1e6:,.0f} MB" + ("" if v == "original" else f" ({peak / peaks['original']:.2f} of it)")
                for v, peak in peaks.items()
            )
            print(f"peak memory, {name}, batch {batch}: {line}", flush=True)


if __name__ == "__main__":
    main()
