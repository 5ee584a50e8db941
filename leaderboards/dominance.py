"""Who beats whom beyond noise: the rule at the head of `leaderboards/frontier.py`, for all pairs of rows at once.

Rows as arrays: a column for each objective, and a matrix of hits, a line a row and a column a prompt. Some thousand
rows have some million pairs, which is too many for a call each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import NamedTuple

import moocore
import numpy as np
from scipy.special import bdtr

from suite.judging.latency_change import TOLERANCE as LATENCY_MARGIN
from suite.judging.paired_quality import SIGNIFICANCE
from suite.records import GALLERY_SIZE, Interval, Quality

MEMORY_MARGIN = 0.02  # allocators round and libraries load differently; the design calls less than this noise
BLOCK = 256  # rows that are held against all others at a time: bounds the memory


class Figure(NamedTuple):
    """A value and the ends of its 95 % interval, where they are known. Made for every row of a table, hence no record,
    which would be checked once more."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Candidate:
    """The three objectives of one row that may be ranked."""

    latency: Figure | Interval  # seconds
    peak_memory_bytes: int
    r_precision: Figure | Interval  # of the gallery
    quality: Quality | None = None  # outcomes a prompt, where they are at hand
    smoke: bool = False
    gallery: int = GALLERY_SIZE


@dataclass(frozen=True)
class Objectives:
    """N candidates as arrays [N]; what is not known is NaN. `hits` and `scored` are [N, prompts], 0 or 1."""

    latency: np.ndarray
    latency_low: np.ndarray
    latency_high: np.ndarray
    memory: np.ndarray
    share: np.ndarray
    share_low: np.ndarray
    share_high: np.ndarray
    hits: np.ndarray
    scored: np.ndarray

    def __getitem__(self, which) -> Objectives:
        return Objectives(*(getattr(self, field.name)[which] for field in fields(self)))


def objectives(candidates: Sequence[Candidate]) -> Objectives:
    latency = _interval([c.latency for c in candidates])
    share = _interval([c.r_precision for c in candidates])
    hits, scored = hit_matrix([c.quality for c in candidates], candidates[0].gallery if candidates else GALLERY_SIZE)
    return Objectives(*latency, np.array([c.peak_memory_bytes for c in candidates], dtype=float), *share, hits, scored)


def _interval(intervals: Sequence[Figure | Interval]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known = [[np.nan if end is None else end for end in (i.value, i.low, i.high)] for i in intervals]
    value, low, high = np.array(known, dtype=float).reshape(-1, 3).T
    return value, low, high


def hit_matrix(qualities: Sequence[Quality | None], gallery: int = GALLERY_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """(hits, scored), each [rows, prompts] in float32: a prompt has the same column in every row."""
    prompt_of, rank_of = attrgetter("prompt"), attrgetter(f"rank_{gallery}")
    columns: dict[str, int] = {}
    places: dict[tuple[str, ...], np.ndarray] = {}  # of prompts that many rows have in this order
    rows = []
    for quality in qualities:
        outcomes = quality.outcomes if quality else []
        prompts = tuple(map(prompt_of, outcomes))
        if prompts not in places:
            places[prompts] = np.array([columns.setdefault(p, len(columns)) for p in prompts], dtype=int)
        ranks = list(map(rank_of, outcomes))
        known = None not in ranks
        rows.append((places[prompts], np.array(ranks, dtype=int if known else float)))  # a float's None is NaN
    hits = np.zeros((len(rows), len(columns)), dtype=np.float32)
    scored = np.zeros_like(hits)
    for n, (at, found) in enumerate(rows):
        scored[n, at], hits[n, at] = ~np.isnan(found), found == 0
    return hits, scored


def removed(a: Objectives, b: Objectives) -> np.ndarray:
    """[B]: whether any of a removes each of b."""
    first = _columns(a)
    with np.errstate(invalid="ignore"):  # a comparison with NaN, which is not known, holds nothing
        common, gain = _gain(a, b)
        worse = np.where(common, gain < 0, first.share - b.share < 0)
        worse |= first.latency > b.latency * (1 + LATENCY_MARGIN)
        worse |= first.memory > b.memory * (1 + MEMORY_MARGIN)
        cheaper = faster(a, b) | (first.memory * (1 + MEMORY_MARGIN) < b.memory)
    gone = np.any(~worse & cheaper, axis=0)
    # The test in pairs takes longest: only for those that nothing else removes, by those that may.
    open_ = ~worse & ~gone
    rows, columns = np.flatnonzero(open_.any(axis=1)), np.flatnonzero(open_.any(axis=0))
    if len(rows):
        gone[columns] = (open_[np.ix_(rows, columns)] & truer(a[rows], b[columns])).any(axis=0)
    return gone


def faster(a: Objectives, b: Objectives) -> np.ndarray:
    """[A, B], beyond noise. A latency without an interval (one sample) shows nothing."""
    a = _columns(a)
    with np.errstate(invalid="ignore"):
        return (a.latency_high < b.latency_low) & (a.latency * (1 + LATENCY_MARGIN) < b.latency)


def truer(a: Objectives, b: Objectives) -> np.ndarray:
    """[A, B]: a higher R-Precision, beyond noise. Paired where both were scored on the same prompts."""
    common, gain = _gain(a, b)
    won = a.hits @ (b.scored - b.hits).T
    lost = won - gain
    p = np.ones(gain.shape)
    some = (won + lost > 0) & (gain > 0)
    # Two-sided exact McNemar, as `suite.judging.paired_quality.mcnemar_p` has it for one pair.
    p[some] = np.minimum(1, 2 * bdtr(np.minimum(won, lost)[some], (won + lost)[some].astype(int), 0.5))
    with np.errstate(invalid="ignore"):
        return np.where(common, (gain > 0) & (p < SIGNIFICANCE), b.share_high < _columns(a).share_low)


def _gain(a: Objectives, b: Objectives) -> tuple[np.ndarray, np.ndarray]:
    """[A, B]: whether any prompt was scored on both; hits of a more than of b on those."""
    if a.scored.size and a.scored.all() and b.scored.all():
        gain = a.hits.sum(axis=1)[:, None] - b.hits.sum(axis=1)
        return np.ones(gain.shape, dtype=bool), gain
    return a.scored @ b.scored.T > 0, a.hits @ b.scored.T - a.scored @ b.hits.T


def _columns(a: Objectives) -> Objectives:
    """Each array [A] as [A, 1]; what is a matrix already stays."""
    return Objectives(*(x if x.ndim == 2 else x[:, None] for x in (getattr(a, f.name) for f in fields(a))))


def unbeaten(candidates: Sequence[Candidate]) -> np.ndarray:
    """[N]: whether no other removes it.

    Most of many rows are beaten by the few that are best without regard to noise, so these are tried first; only what
    they leave is held against all.
    """
    if not candidates:
        return np.zeros(0, dtype=bool)
    rows = objectives(candidates)
    points = np.column_stack([rows.latency, rows.memory, -rows.share])
    left = np.arange(len(candidates))
    for rivals in (np.flatnonzero(moocore.is_nondominated(points)), np.arange(len(candidates))):
        left = left[~_beaten(rows[rivals], rows, left)]
    kept = np.zeros(len(candidates), dtype=bool)
    kept[left] = True
    return kept


def tie_bands(candidates: Sequence[Candidate]) -> list[int]:
    """For each candidate, 1 where its quality cannot be told from the highest; 2 where it cannot be told from the
    highest of those that are left, and so on."""
    bands = [0] * len(candidates)
    rows = objectives(candidates)
    left = np.argsort(-rows.share, kind="stable")
    band = 0
    while len(left):
        band += 1
        same = ~truer(rows[left[:1]], rows[left])[0]
        for n in left[same]:
            bands[n] = band
        left = left[~same]
    return bands


def _beaten(rivals: Objectives, rows: Objectives, which: np.ndarray) -> np.ndarray:
    blocks = [which[start : start + BLOCK] for start in range(0, len(which), BLOCK)]
    return np.concatenate([removed(rivals, rows[block]) for block in blocks] or [np.zeros(0, dtype=bool)])
