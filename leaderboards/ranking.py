"""How sure a place is: layers, hypervolume, the balanced pick, and what resampling says of all of it.

Pure functions of arrays. A row is a point (latency in seconds, peak memory in bytes, share of prompts hit); lower,
lower and higher are better. Distances and volumes are in the logarithm of latency and memory, where a halving is the
same step everywhere.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from scipy.special import ndtri, stdtrit

from leaderboards.dominance import MEMORY_MARGIN
from suite.judging.intervals import CONFIDENCE
from suite.judging.latency_change import TOLERANCE
from suite.records import GALLERY_SIZE

DRAWS = 1000
SEED = 20261128
# 95 % of fresh processes of one build differ by no more than the tolerance from one another.
PROCESS_SD = math.log1p(TOLERANCE) / float(ndtri((1 + CONFIDENCE) / 2)) / math.sqrt(2)


@dataclass(frozen=True)
class Corner:
    latency_s: float
    peak_memory_bytes: float
    share: float


# A hypervolume means nothing beside one of another reference point: a change of these raises the version.
REFERENCE_VERSION = 1
IDEAL = Corner(0.001, 1e6, 1.0)
REFERENCE_POINTS = {  # by the first words of a kind
    "point cloud": Corner(3600.0, 64e9, 1 / GALLERY_SIZE),
    "mesh": Corner(3600.0, 64e9, 1 / GALLERY_SIZE),
}


def layers(points: np.ndarray) -> np.ndarray:
    """[N, 3] -> [N]: 1 for the points that no other beats, 2 for those that only these beat, and so on. Equal points
    share a layer."""
    return 1 + moocore.pareto_rank(_lower_is_better(points)) if len(points) else np.zeros(0, dtype=int)


def hypervolume(points: np.ndarray, kind: str) -> float | None:
    """The share of the box between IDEAL and the kind's reference point that the points beat, 0 to 1; None for a kind
    without a reference point. A point beyond the reference in any objective beats nothing of it."""
    corner = next((found for words, found in REFERENCE_POINTS.items() if kind.startswith(words)), None)
    if corner is None:
        return None
    ideal, reference = (_lower_is_better(np.array([_point(c)]))[0] for c in (IDEAL, corner))
    unit = (_lower_is_better(points) - ideal) / (reference - ideal)
    return float(moocore.hypervolume(np.clip(unit, 0, None), ref=np.ones(3))) if len(points) else 0.0


MATTERS = (math.log(2), math.log(2), 0.05)  # a factor of two in latency and in memory, five points of quality


def balanced(points: np.ndarray) -> int:
    """Which point of a frontier is nearest to the best of each objective, each scaled to its range on the frontier:
    the compromise solution of Zeleny 1973, a knee where there is one. A range that is too small to matter counts for
    what it is: 3 % of memory do not weigh as much as 90 times the latency."""
    lower = _lower_is_better(points)
    span = np.maximum(np.ptp(lower, axis=0), MATTERS)
    unit = (lower - lower.min(axis=0)) / span
    return int(np.argmin(np.linalg.norm(unit, axis=1)))


def _point(corner: Corner) -> tuple[float, float, float]:
    return corner.latency_s, corner.peak_memory_bytes, corner.share


def _lower_is_better(points: np.ndarray) -> np.ndarray:
    return np.column_stack([np.log(points[:, 0]), np.log(points[:, 1]), -points[:, 2]])


# Resampling


@dataclass(frozen=True)
class Sampled:
    """What was measured of one row. samples_s: timed rounds; hits: outcome a prompt, the same prompts for all rows."""

    samples_s: Sequence[float]
    session: str
    peak_memory_bytes: float
    hits: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where one row may stand among its like; ends are of 95 % intervals, 1 is best."""

    frontier_probability: float
    rank: int
    rank_low: int
    rank_high: int


def draw_shares(hits: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """[N, prompts] -> [draws, N]: shares, had other prompts of their kind been asked.

    The Bayesian bootstrap (Rubin 1981): each draw weighs the prompts anew, the same for all rows, so a prompt that is
    hard for all moves all. Two prompts that nobody was asked, with half a weight, are hit once and missed once, in an
    order that each row draws for itself. So each row's share has Jeffreys' interval, which does not close at 0 and 1,
    and two rows with equal outcomes may still differ.
    """
    rows, prompts = hits.shape
    weights = generator.standard_gamma(np.r_[np.ones(prompts), 0.5, 0.5], (draws, prompts + 2))
    weights /= weights.sum(axis=1, keepdims=True)
    first = generator.random((draws, rows)) < 0.5
    return weights[:, :prompts] @ hits.T.astype(float) + np.where(first, weights[:, -2:-1], weights[:, -1:])


def draw_latencies(
    samples_s: Sequence[Sequence[float]],
    sessions: Sequence[str],
    drift_sd: float,
    draws: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """[draws, N] seconds: where each row's middle may lie.

    Three sources add up in the logarithm: the rounds of a process (Student's t of their mean), the process, and the
    session, whose machine was as fast or slow for all rows of it. drift_sd: between sessions, see `drift`.
    """
    logs = [np.log(np.asarray(samples, dtype=float)) for samples in samples_s]
    centre = np.array([x.mean() for x in logs])
    error = np.array([x.std(ddof=1) / math.sqrt(len(x)) if len(x) > 1 else 0.0 for x in logs])
    freedom = np.array([max(len(x) - 1, 1) for x in logs])
    rounds = stdtrit(freedom, generator.random((draws, len(logs)))) * error
    process = PROCESS_SD * generator.standard_normal((draws, len(logs)))
    names = sorted(set(sessions))
    session = drift_sd * generator.standard_normal((draws, len(names)))
    return np.exp(centre + rounds + process + session[:, [names.index(name) for name in sessions]])


def drift(references: Sequence[tuple[str, str, float]]) -> float:
    """How far a machine's speed lies apart from one session to another: the deviation of log seconds of the same
    model's reference, pooled over models. references: (model, session, seconds), one a row: of a session that timed it
    several times the mean. 0 where each model has one session."""
    by_model: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for model, session, seconds in references:
        by_model[model][session].append(math.log(seconds))
    found = [np.array([np.mean(held) for held in logs.values()]) for logs in by_model.values() if len(logs) > 1]
    freedom = sum(len(logs) - 1 for logs in found)
    return math.sqrt(sum(float(((logs - logs.mean()) ** 2).sum()) for logs in found) / freedom) if freedom else 0.0


def places(rows: Sequence[Sampled], drift_sd: float, draws: int = DRAWS, seed: int = SEED) -> list[Place]:
    """How often each row is on the frontier, and the interval of its rank by quality. Deterministic."""
    if not rows:
        return []
    generator = np.random.default_rng(seed)
    hits = np.array([row.hits for row in rows])
    shares = draw_shares(hits, draws, generator)
    seconds = draw_latencies([r.samples_s for r in rows], [r.session for r in rows], drift_sd, draws, generator)
    memory = np.broadcast_to(snapped(np.array([r.peak_memory_bytes for r in rows], dtype=float)), seconds.shape)
    points = np.stack([seconds, memory, -shares], axis=-1)
    on = np.mean([moocore.is_nondominated(drawn, keep_weakly=True) for drawn in points], axis=0)
    low, high = rank_interval(shares)
    rank = ranks(hits.mean(axis=1)[None])[0]
    return [
        Place(float(p), int(r), int(min(r, a)), int(max(r, b))) for p, r, a, b in zip(on, rank, low, high, strict=True)
    ]


def snapped(memory: np.ndarray) -> np.ndarray:
    """[N] peaks, those within the margin above a smaller one set equal to it: a difference that is noise keeps no row
    on a frontier."""
    order, equal, base = np.argsort(memory), np.array(memory, dtype=float), -math.inf
    for n in order:
        base = base if memory[n] <= base * (1 + MEMORY_MARGIN) else memory[n]
        equal[n] = base
    return equal


def ranks(shares: np.ndarray) -> np.ndarray:
    """[draws, N] -> [draws, N]: 1 + how many are strictly better."""
    ordered = np.sort(-shares, axis=1)
    return 1 + np.array([np.searchsorted(line, -row, side="left") for line, row in zip(ordered, shares)])


def rank_interval(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drawn shares [draws, N] -> the ends [N] of each row's 95 % interval of ranks."""
    tail = (1 - CONFIDENCE) / 2
    drawn = ranks(shares)
    return (
        np.quantile(drawn, tail, axis=0, method="inverted_cdf"),
        np.quantile(drawn, 1 - tail, axis=0, method="inverted_cdf"),
    )
