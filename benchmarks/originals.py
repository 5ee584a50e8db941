"""One evaluation of Point-E's networks, our recipes against the original, interleaved, and the peak memory of each.

    .venv/bin/python benchmarks/originals.py [RECIPE ...] [--rounds 7] [--threads 1] [--clock cpu] [--case base40M-b2]
                                             [--skip memory]

Needs the original (docs/parity.md), which computes in float32. Weights of seeded noise shared by all, outputs compared
in the same run. Each round times every variant once, in an order that turns; a ratio is taken within its round. Shares
are of the fastest float32 product of two matrices of 2048 that either library did in the same rounds. `--clock cpu`
counts the process's own time, kernel included, for a machine that others use; it says as much as the wall's time only
with one thread. Memory is the process's peak above its level before the network was made, each variant in a process of
its own.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from statistics import median
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from suite.building import apply_recipe
from suite.catalogue.optimizations import REFERENCE, find_optimization
from suite.catalogue.recipes import ORIGINAL
from suite.models.checkpoints.networks import random_network
from suite.models.point_e.network import PUBLISHED, PointDiffusionTransformer
from suite.models.point_e.original import original_network
from suite.optimizations.arithmetic.precision import cast_to

CPU = torch.device("cpu")
# The last as in text mode, unguided.
CASES = {"base40M-b2": ("base40M", 2), "upsample-b2": ("upsample", 2), "upsample-b1": ("upsample", 1)}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
RECIPES = (REFERENCE, "onednn")


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
    """One evaluation as a function without arguments, and the weights that it began with. variant: a recipe's name."""
    recipe = find_optimization(variant)
    make, dtype = lambda: PointDiffusionTransformer(PUBLISHED[name]), cast_to(recipe) or torch.float32
    network = random_network(make, CPU, dtype)
    if weights is not None:
        network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    weights = network.state_dict()
    given = inputs(name, batch)
    if variant == ORIGINAL:
        network = original_network(name, torch.device("meta"))
        network.load_state_dict(weights, assign=True)
        network.requires_grad_(False)
        given["embeddings"] = given.pop("clip").transpose(1, 2)
        if "low_resolution" in given:
            given["low_res"] = given.pop("low_resolution")
    else:
        alone = SimpleNamespace(
            model=name, networks={name: network}, diffusion=(name,), guidance=3.0 if batch > 1 else 1.0
        )
        network = apply_recipe(recipe, alone, CPU).networks[name]
    return lambda: network(**given), weights


def timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    call()
    return clock() - started


def products() -> dict[str, Callable[[], object]]:
    """A large product by torch's BLAS, and by oneDNN: the faster is this processor's measured peak."""
    a, b = torch.randn(2, 2048, 2048)
    return {
        "BLAS": lambda: F.linear(a, b),
        "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
    }


def flops(name: str, batch: int) -> int:
    """Of one evaluation by our network, attention included; counted without computing."""
    with torch.device("meta"):
        network = PointDiffusionTransformer(PUBLISHED[name])
    given = {key: value.to("meta") for key, value in inputs(name, batch).items()}
    with FlopCounterMode(display=False) as counter:
        network(**given)
    return counter.get_total_flops()


@torch.inference_mode()
def compare(name: str, batch: int, recipes: Sequence[str], rounds: int, clock: Callable[[], float]) -> None:
    variants = (ORIGINAL, *recipes)
    original, weights = call_of(name, batch, ORIGINAL)
    calls = {ORIGINAL: original} | {recipe: call_of(name, batch, recipe, weights)[0] for recipe in recipes}
    outputs = {variant: call() for variant, call in calls.items()}  # warms up, too
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    rates = {library: [] for library in products()}
    for k in range(rounds):
        turn = k % len(variants)
        for variant in variants[turn:] + variants[:turn]:
            seconds[variant].append(timed(calls[variant], clock))
        for library, product in products().items():
            rates[library].append(2 * 2048**3 / min(timed(product, clock) for _ in range(3)))
    theirs, work = outputs[ORIGINAL], flops(name, batch)
    peak = max(median(values) for values in rates.values())
    own = median(seconds[ORIGINAL])
    print(
        f"{name}, batch {batch}, {work / 1e9:.0f} GFLOP, {rounds} rounds; a large product: "
        + ", ".join(f"{library} {median(values) / 1e9:.0f} GFLOP/s" for library, values in rates.items())
    )
    print(f"  original: {own:.2f} s an evaluation, {work / own / peak:.0%} of the peak")
    for variant in recipes:
        ratios = sorted(a / b for a, b in zip(seconds[ORIGINAL], seconds[variant]))
        error = ((outputs[variant] - theirs).norm() / theirs.norm()).item()
        took = median(seconds[variant])
        print(
            f"  {variant}: {took:.2f} s, {work / took / peak:.0%} of the peak, {median(ratios):.2f}x faster "
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
    return _status("VmHWM") - before


def _status(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE", help=f"default: {' '.join(RECIPES)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--skip", choices=("time", "memory"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {capability}, {options.threads} thread(s), {options.clock} time")
    cases = [CASES[case] for case in options.case or CASES]
    for name, batch in cases if options.skip != "time" else ():
        compare(name, batch, options.recipes, options.rounds, CLOCKS[options.clock])
    for name, batch in cases if options.skip != "memory" else ():
        peaks = {v: peak_bytes(name, batch, v, options.threads) for v in (ORIGINAL, *options.recipes)}
        line = "; ".join(
            f"{v} {peak / 1e6:,.0f} MB" + ("" if v == ORIGINAL else f" ({peak / peaks[ORIGINAL]:.2f} of it)")
            for v, peak in peaks.items()
        )
        print(f"peak memory, {name}, batch {batch}: {line}", flush=True)


if __name__ == "__main__":
    main()
