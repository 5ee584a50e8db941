"""Who beats whom beyond noise: the rule at the head of `leaderboards/frontier.py`, for all pairs of rows at once.

Rows as arrays: a column for each objective, and a matrix of hits, a line a row and a column a prompt. Some thousand
rows have some million pairs, which is too many for a call each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import moocore
import numpy as np
from scipy.special import bdtr

from suite.judging.latency_change import TOLERANCE as LATENCY_MARGIN
from suite.judging.paired_quality import SIGNIFICANCE
from suite.records import GALLERY_SIZE, Interval, Quality

MEMORY_MARGIN = 0.02  # allocators round and libraries load differently; the design calls less than this noise
BLOCK = 256  # rows that are held against all others at a time: bounds the memory


@dataclass(frozen=True)
class Candidate:
    """The three objectives of one row that may be ranked."""

    latency: Interval  # seconds
    peak_memory_bytes: int
    r_precision: Interval  # of the gallery
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


def _interval(intervals: Sequence[Interval]) -> np.ndarray:
    known = [[np.nan if end is None else end for end in (i.value, i.low, i.high)] for i in intervals]
    return np.array(known, dtype=float).reshape(-1, 3).T


def hit_matrix(qualities: Sequence[Quality | None], gallery: int = GALLERY_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """(hits, scored), each [rows, prompts] in float32: a prompt has the same column in every row."""
    name = f"rank_{gallery}"
    ranks = [{o.prompt: getattr(o, name) for o in quality.outcomes} if quality else {} for quality in qualities]
    columns: dict[str, int] = {}
    for row in ranks:
        if not columns.keys() >= row.keys():
            for prompt in row:
                columns.setdefault(prompt, len(columns))
    hits = np.zeros((len(ranks), len(columns)), dtype=np.float32)
    scored = np.zeros_like(hits)
    for n, row in enumerate(ranks):
        found = [(columns[prompt], rank == 0) for prompt, rank in row.items() if rank is not None]
        if found:
            at, hit = np.array(found).T
            scored[n, at], hits[n, at] = 1, hit
    return hits, scored


def beats(a: Objectives, b: Objectives) -> np.ndarray:
    """[A, B]: whether each of a removes each of b."""
    first, second = _columns(a), b
    with np.errstate(invalid="ignore"):  # a comparison with NaN, which is not known, holds nothing
        common, gain = _gain(a, b)
        worse = np.where(common, gain < 0, first.share - second.share < 0)
        worse |= first.latency > second.latency * (1 + LATENCY_MARGIN)
        worse |= first.memory > second.memory * (1 + MEMORY_MARGIN)
        better = faster(a, b) | (first.memory * (1 + MEMORY_MARGIN) < second.memory)
        return ~worse & (better | truer(a, b))


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
    p = np.ones_like(gain)
    some = (won + lost > 0) & (gain > 0)
    # Two-sided exact McNemar, as `suite.judging.paired_quality.mcnemar_p` has it for one pair.
    p[some] = np.minimum(1, 2 * bdtr(np.minimum(won, lost)[some], (won + lost)[some].astype(int), 0.5))
    with np.errstate(invalid="ignore"):
        return np.where(common, (gain > 0) & (p < SIGNIFICANCE), b.share_high < _columns(a).share_low)


def _gain(a: Objectives, b: Objectives) -> tuple[np.ndarray, np.ndarray]:
    """[A, B]: whether any prompt was scored on both; hits of a more than of b on those."""
    return a.scored @ b.scored.T > 0, np.round(a.hits @ b.scored.T - a.scored @ b.hits.T).astype(float)


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


def _beaten(rivals: Objectives, rows: Objectives, which: np.ndarray) -> np.ndarray:
    blocks = [which[start : start + BLOCK] for start in range(0, len(which), BLOCK)]
    return np.concatenate([beats(rivals, rows[block]).any(axis=0) for block in blocks] or [np.zeros(0, dtype=bool)])
