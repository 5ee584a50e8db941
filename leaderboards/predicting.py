"""What counted work should take on a machine that has not measured it: pure arithmetic.

A stage takes at least its arithmetic at the machine's peaks, or its traffic at the memory's rate (Williams et al. 2009,
doi:10.1145/1498765.1498785). Real code reaches a share of that, its *efficiency*: floor over latency. Predictions take
the efficiency that was measured on other machines, for each kind of arithmetic on its own. How far such predictions
were off where the truth is known is the width of their interval.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from suite.judging.roofline import floor_s
from suite.records import MachinePeak

COUNTS = Path(__file__).parent / "object_counts.json"
ATTENTION, OTHER = "attention", "other"  # the kinds of arithmetic that are counted apart
# Recipes that say how a published size is sampled. Everything else changes what the same evaluations are computed in.
SAMPLINGS = (
    "fp32",
    "steps-32",
    "steps-16",
    "steps-8",
    "steps-4",
    "dpmpp-16",
    "dpmpp-8",
    "dpmpp-4",
    "dpmpp-2",
    "one-evaluation",
    "guidance-interval",
)
HEAD_WIDTH = 64  # of every published diffusion network
FLOAT32, HALF, INT8 = "float32", "half", "int8"  # whose efficiency is told apart
CLASSES = {"float32": FLOAT32, "float16": HALF, "bfloat16": HALF, "int8": INT8}


@dataclass(frozen=True)
class Work:
    """A stage's for one object, in float32 as counted."""

    flops: Mapping[str, int]  # by ATTENTION and OTHER
    bytes_moved: int
    evaluations: int = 1


@dataclass(frozen=True)
class Arithmetic:
    """What a recipe computes the diffusion networks in."""

    attention: str  # type, as in `MachinePeak.flops_per_s`
    other: str
    traffic: float = 1.0  # of float32's bytes
    weight_bytes: float | None = 4.0  # of a parameter, as stored; None: outside torch, where nothing counts them
    from_float32: bool = False  # made of networks in float32, which are there first
    scores: bool = False  # attention's scores are written and read, as the originals do


@dataclass(frozen=True)
class Case:
    """A latency that is known, beside the floor of its work on that machine."""

    name: str
    machine: str
    kind: str  # of efficiency
    floor_s: float
    latency_s: float
    source: str

    @property
    def efficiency(self) -> float:
        return self.floor_s / self.latency_s


@dataclass(frozen=True)
class Efficiency:
    """Of one kind of arithmetic. `off`: the largest factor by which such a prediction missed; None: never tried."""

    value: float
    off: float | None


@dataclass(frozen=True)
class Expected:
    """Seconds, or bytes, with the ends of their interval; None: not known."""

    value: float
    low: float | None = None
    high: float | None = None


def computed(work: Work, arithmetic: Arithmetic) -> tuple[Counter[str], float]:
    """A stage's operations by type, and its bytes, in this arithmetic.

    Scores: for each row and key a number, written and read. With heads of 64, that is 1 in 256 of attention's FLOP.
    """
    flops: Counter[str] = Counter()
    flops[arithmetic.attention] += work.flops[ATTENTION]
    flops[arithmetic.other] += work.flops[OTHER]
    scores = 2 * 4 * work.flops[ATTENTION] / (4 * HEAD_WIDTH) if arithmetic.scores else 0.0
    return flops, (work.bytes_moved + scores) * arithmetic.traffic


def floors(stages: Iterable[tuple[Work, Arithmetic]], peak: MachinePeak) -> dict[str, float] | None:
    """Seconds at least, by kind of efficiency; None where the machine has no peak for a type. A stage bound by its
    traffic shares that time out as its arithmetic would have been."""
    found: dict[str, float] = defaultdict(float)
    for work, arithmetic in stages:
        flops, moved = computed(work, arithmetic)
        if (least := floor_s(flops, moved, peak)) is None:
            return None
        alone = {kind: count / peak.flops_per_s[kind] for kind, count in flops.items() if count}
        for kind, seconds in alone.items():
            found[CLASSES[kind]] += least * seconds / sum(alone.values())
    return dict(found)


def efficiency(cases: Sequence[Case], kind: str, without: str | None = None) -> float | None:
    """The geometric mean over machines of each machine's own, so that many rows of one outvote nobody.

    without: a machine, whose cases are left out."""
    logs = defaultdict(list)
    for case in cases:
        if case.kind == kind and case.machine != without:
            logs[case.machine].append(math.log(case.efficiency))
    return math.exp(fmean(fmean(own) for own in logs.values())) if logs else None


def factor_off(case: Case, cases: Sequence[Case]) -> float | None:
    """Predicted latency over the true one, told from other machines alone; None where there is no other."""
    known = efficiency(cases, case.kind, without=case.machine)
    return None if known is None else case.efficiency / known


def efficiencies(cases: Sequence[Case]) -> dict[str, Efficiency]:
    """By kind, for a machine that none of the cases are from. A kind that one machine alone has measured cannot be
    tried: how far it is from half precision's efficiency, or half precision was off, stands for that."""
    found = {}
    for kind in (FLOAT32, HALF, INT8):
        if (value := efficiency(cases, kind)) is not None:
            misses = [factor_off(case, cases) for case in cases if case.kind == kind]
            found[kind] = Efficiency(value, max((max(m, 1 / m) for m in misses if m is not None), default=None))
    for kind, own in found.items():
        if own.off is None and HALF in found and found[HALF].off is not None:
            apart = found[HALF].value / own.value
            found[kind] = Efficiency(own.value, max(apart, 1 / apart, found[HALF].off))
    return found


def expected_latency(least: Mapping[str, float], known: Mapping[str, Efficiency]) -> Expected | None:
    """From floors by kind. Never below the floor. None where a kind's efficiency is not known."""
    if any(kind not in known for kind in least):
        return None
    floor = sum(least.values())
    value = sum(seconds / known[kind].value for kind, seconds in least.items())
    if any(known[kind].off is None for kind in least):
        return Expected(max(floor, value), floor)
    low = sum(seconds / known[kind].value / known[kind].off for kind, seconds in least.items())
    high = sum(seconds / known[kind].value * known[kind].off for kind, seconds in least.items())
    return Expected(max(floor, value), max(floor, low), max(floor, high))


def stored_bytes(parameters: Mapping[str, int], recast: Iterable[str], arithmetic: Arithmetic) -> float | None:
    """Of all weights: those of the `recast` stages in the recipe's storage, the others in float32."""
    if arithmetic.weight_bytes is None:
        return None
    recast = set(recast)
    return sum(n * (arithmetic.weight_bytes if stage in recast else 4) for stage, n in parameters.items())


def expected_memory(
    weights: float, loading: float, operation: float, known: Sequence[float], span: float = 2.0
) -> Expected | None:
    """Peak bytes: the weights and so many times the largest operation's inputs and outputs, or what loading takes.

    known: how many times that was, where it was measured. The interval reaches `span` times beyond them, since no GPU
    is among them.
    """
    if not known:
        return None
    middle = math.exp(fmean(map(math.log, known)))
    at = [max(loading, weights + times * operation) for times in (middle, min(known) / span, max(known) * span)]
    return Expected(*at)


def peaks_of_tpcs(tpcs: int, gpu_hz: float, bytes_per_s: float) -> MachinePeak:
    """Of a Jetson Orin's GPU in a power mode: 512 float32 operations a cluster and cycle, 4,096 in half precision and
    8,192 in int8 (NVIDIA Jetson AGX Orin technical brief, 2022)."""
    each = tpcs * gpu_hz
    flops = {"float32": 512 * each, "float16": 4096 * each, "bfloat16": 4096 * each, "int8": 8192 * each}
    return MachinePeak(flops_per_s=flops, bytes_per_s=bytes_per_s)
