"""The question "what should I take, within 8 GB and 10 s?": the cheapest among the rows that are good enough.

Good enough is what cannot be told from the best quality within the limits. Of some twenty rows that are tied, the one
with the most hits is the luckiest one, not the best; what they differ in for sure is what they cost. Where a least
quality is asked for, good enough is what reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leaderboards.axes import IN_WORDS
from leaderboards.dominance import Candidate, faster, objectives, truer
from leaderboards.frontier import Key, candidate, comparable, key, share, taking_part
from suite.records import PublishedRow, Quality


@dataclass(frozen=True)
class Limits:
    """None: no limit. A latency fits when the upper end of its 95 % interval does; memory, energy and quality by what
    was measured."""

    max_latency_s: float | None = None
    max_memory_bytes: float | None = None
    max_energy_j: float | None = None
    min_quality: float | None = None  # fraction
    axis: str = "r_precision"  # what quality means: a field of the row

    def words(self) -> list[str]:
        said = [f"at most {self.max_latency_s:g} s"] if self.max_latency_s is not None else []
        said += [f"at most {self.max_memory_bytes / 1e9:g} GB"] if self.max_memory_bytes is not None else []
        said += [f"at most {self.max_energy_j:g} J"] if self.max_energy_j is not None else []
        of = "" if self.axis == "r_precision" else f" of {IN_WORDS[self.axis]}"
        return said + ([f"at least {100 * self.min_quality:g} %{of}"] if self.min_quality is not None else [])


@dataclass(frozen=True)
class Miss:
    """A row that a limit excludes."""

    row: PublishedRow
    why: str
    excess: float  # how far over the limit: 0.2 is 20 %; infinite where it cannot be told


@dataclass(frozen=True)
class Answer:
    """What fits the limits.

    best: the one with the lowest latency of those that are good enough.
    top: the one with the highest share; its lead over the tied ones may be luck.
    tied: the other good ones whose quality cannot be told from the top's, the fastest first; where a least quality was
        asked for, those whose latency cannot be told from the best's.
    nearest_miss: of those that would be a better answer; of all, when nothing fits.
    """

    best: PublishedRow | None
    top: PublishedRow | None
    tied: tuple[PublishedRow, ...]
    nearest_miss: Miss | None
    considered: int
    fitting: int


def answer(
    rows: Iterable[PublishedRow],
    max_latency_s: float | None = None,
    max_memory_bytes: float | None = None,
    qualities: Mapping[Key, Quality] | None = None,
    *,
    limits: Limits | None = None,
) -> Answer:
    """What to take within the limits: `limits`, or these two alone.

    Only ranked rows count: `on_frontier` is not None, and by today's rule they take part, since tables may be older
    than it. With `qualities` (outcomes a prompt, by `key`), ties are found by the paired test, else by overlapping
    intervals. ValueError where the rows are not of one `comparable` group.
    """
    limits = limits or Limits(max_latency_s, max_memory_bytes)
    ranked, candidates = _ranked(rows, limits.axis, qualities or {})
    fitting, misses = [], []
    for row, found in zip(ranked, candidates):
        miss = _miss(row, limits)
        fitting.append((row, found)) if miss is None else misses.append(miss)
    if not fitting:
        return Answer(None, None, (), min(misses, key=_nearness, default=None), len(ranked), 0)
    fitting.sort(key=lambda pair: (-pair[1].r_precision.value, *_cost(pair[0])))
    top, arrays = fitting[0][0], objectives([found for _, found in fitting])
    same = ~truer(arrays[:1], arrays)[0] if limits.min_quality is None else np.ones(len(fitting), dtype=bool)
    first = min(np.flatnonzero(same), key=lambda n: _cost(fitting[n][0]))
    best = fitting[first][0]
    if limits.min_quality is not None:
        same = ~faster(arrays[first : first + 1], arrays)[0]
        misses = [miss for miss in misses if miss.row.latency_s < best.latency_s]
    else:
        misses = [m for m in misses if share(m.row, limits.axis).value > share(top, limits.axis).value]
    tied = sorted((fitting[n][0] for n in np.flatnonzero(same) if n != first), key=_cost)
    return Answer(best, top, tuple(tied), min(misses, key=_nearness, default=None), len(ranked), len(fitting))


def _ranked(
    rows: Iterable[PublishedRow], axis: str, qualities: Mapping[Key, Quality]
) -> tuple[list[PublishedRow], list[Candidate]]:
    ranked = [row for row in rows if row.on_frontier is not None]
    if len(groups := comparable(ranked)) > 1:
        raise ValueError(
            f"rows of {len(groups)} boards, prompt sets or judges cannot be compared: {sorted(map(str, groups))}"
        )
    candidates = [candidate(row, qualities.get(key(row)), axis) for row in ranked]
    pairs = [pair for pair, part in zip(zip(ranked, candidates), taking_part(candidates)) if part]
    return [row for row, _ in pairs], [found for _, found in pairs]


def _cost(row: PublishedRow) -> tuple:
    return (row.latency_s, row.peak_memory_bytes, row.configuration)


def _nearness(miss: Miss) -> tuple:
    return (miss.excess, -(miss.row.r_precision or 0), miss.row.configuration)


def _miss(row: PublishedRow, limits: Limits) -> Miss | None:
    """Why a row does not fit, or None when it does."""
    quality = share(row, limits.axis).value
    checks = (
        _latency_over(row, limits.max_latency_s),
        _over("peak memory", row.peak_memory_bytes, limits.max_memory_bytes, 1e9, "GB"),
        _over("energy", row.energy_j, limits.max_energy_j, 1, "J"),
        _under(quality, limits.min_quality),
    )
    found = [check for check in checks if check is not None]
    return Miss(row, "; ".join(why for _, why in found), max(excess for excess, _ in found)) if found else None


def _latency_over(row: PublishedRow, limit: float | None) -> tuple[float, str] | None:
    if limit is None:
        return None
    if row.latency_high_s is None:
        return math.inf, "its latency has no upper bound (one sample)"
    return _over("latency up to", row.latency_high_s, limit, 1, "s")


def _over(name: str, value: float | None, limit: float | None, scale: float, unit: str) -> tuple[float, str] | None:
    if limit is None or (value is not None and value <= limit):
        return None
    if value is None:
        return math.inf, f"its {name} was not measured"
    excess = value / limit - 1
    return excess, (f"{name} {value / scale:.4g} {unit} is {100 * excess:.1f} % over {limit / scale:.4g} {unit}")


def _under(value: float, limit: float | None) -> tuple[float, str] | None:
    if limit is None or value >= limit:
        return None
    return (
        1 - value / limit,
        (f"quality {100 * value:.1f} % is {100 * (limit - value):.1f} points under {100 * limit:g} %"),
    )


def nearest_published(rows: Sequence[PublishedRow], max_latency_s: float | None) -> PublishedRow | None:
    """Of figures of others, the one to name beside a question that no measured row answers: the best quality that fits,
    else the fastest."""
    timed = [row for row in rows if row.source == "published" and row.latency_s is not None]
    fits = [row for row in timed if max_latency_s is None or row.latency_s <= max_latency_s]
    if fits:
        return max(fits, key=lambda row: (row.r_precision or 0, -row.latency_s))
    return min(timed, key=lambda row: row.latency_s, default=None)
