"""The frontier of one board under noise, and the question "what fits 8 GB and 10 s at the best quality?".

Three objectives: latency (lower is better), peak memory (lower), CLIP R-Precision in the gallery of 153 (higher).

Who takes part. A row whose R-Precision may be chance (its 95 % interval holds 1 in 153, or lies below) has failed
quality: it is never on the frontier and removes nothing, however fast it is. A smoke run is never ranked with full
ones, since its prompts are too few: where a full row takes part, no smoke run does. Where there are only smoke runs,
they are ranked among themselves.

The rule. A removes B from the frontier when

1. A is *better beyond noise* on at least one objective, and
2. A is *no worse* on the other objectives.

| objective   | better beyond noise                                            | no worse                    |
| ----------- | -------------------------------------------------------------- | --------------------------- |
| latency     | 95 % intervals apart, and medians more than 5 % apart          | median at most 5 % longer   |
| peak memory | more than 2 % less                                             | at most 2 % more            |
| R-Precision | exact McNemar p < 0.05 on the prompts both were scored on;     | not one hit fewer on those  |
|             | without outcomes a prompt: 95 % intervals apart                | prompts (or a lower share)  |

Why so:

- A difference within noise never removes anything: two that are merely tied stand on the frontier together. Each
  configuration is measured in a process of its own and fresh processes differ by up to 5 %, which an interval
  from within one process does not see; hence both conditions on latency.
- Nor does a difference within noise keep a row on: half a percent of memory or a few percent of latency is not
  a reason to stay, so those margins count as equal in both directions.
- Quality has no such margin, because with some hundred prompts "no significant loss" is not "no loss": 153 prompts
  leave a loss of several points unseen. A faster row removes a slower one only if it hit at least as often. So of
  the rows with the most hits one is always on the frontier; a claim of non-inferiority is left to its own test.
- What makes nothing can be very fast and small. Were chance ranked, an empty object would be on every frontier.
- "No worse" on quality is an order, and on log latency and log memory one step loses at most one margin where it
  gains more than one, so A cannot beat B, B beat C and C beat A (all scored on the same prompts): the frontier of
  at least one row is never empty, and it does not depend on the order of the rows.

One comparison of equals in twenty looks significant; the frontier is a way to read a table, not a proof.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from suite.catalogue.models import MODELS
from suite.judging.latency_change import TOLERANCE as LATENCY_MARGIN
from suite.judging.paired_quality import SIGNIFICANCE, hit_pairs, mcnemar_p
from suite.records import GALLERY_SIZE, Interval, Measurement, PublishedRow, Quality, Status

MEMORY_MARGIN = 0.02  # allocators round and libraries load differently; the design calls less than this noise
CHANCE = 1 / GALLERY_SIZE  # the share that objects made without looking at their prompts hit
FAILED_QUALITY = f"failed quality: no better than chance (1 in {GALLERY_SIZE})"

Key = tuple[str, str | None, str | None]


def key(row: PublishedRow | Measurement) -> Key:
    """What tells two rows of measurements apart: configuration, board and kind of weights."""
    return (row.configuration, row.board, row.weights)


@dataclass(frozen=True)
class Candidate:
    """The three objectives of one row that may be ranked."""

    latency: Interval  # seconds
    peak_memory_bytes: int
    r_precision: Interval  # gallery of 153
    quality: Quality | None = None  # outcomes a prompt, where they are at hand
    smoke: bool = False


def no_better_than_chance(row: PublishedRow) -> bool:
    """Whether a row was scored and its interval does not lie above chance. Without an interval the share counts."""
    if row.r_precision is None:
        return False
    return (row.r_precision if row.r_precision_low is None else row.r_precision_low) <= CHANCE


def too_few_prompts(row: PublishedRow) -> bool:
    """Whether a row is a smoke run that stands on its own few prompts; one that took the outcomes of the others from a
    committed session stands on as many as a full row."""
    return row.smoke and row.outcomes_from is None


def why_unranked(row: PublishedRow) -> str | None:
    """Why a row has no place on a frontier, whatever stands beside it, or None when it may be ranked."""
    if row.source != "measured":
        return "published elsewhere, not measured here"
    if row.status != Status.OK:
        return f"status {row.status.value}"
    if no_better_than_chance(row):
        return FAILED_QUALITY
    for flag in ("simulated", "extrapolated"):
        if getattr(row, flag):
            return flag
    if row.weights == "random":
        return "random weights"
    missing = [name for name in ("latency_s", "peak_memory_bytes", "r_precision") if getattr(row, name) is None]
    return f"no {', no '.join(missing)}" if missing else None


def candidate(row: PublishedRow, quality: Quality | None = None) -> Candidate | None:
    """A row's objectives, or None when it may not be ranked."""
    if why_unranked(row) is not None:
        return None
    return Candidate(
        latency=Interval(value=row.latency_s, low=row.latency_low_s, high=row.latency_high_s),
        peak_memory_bytes=row.peak_memory_bytes,
        r_precision=Interval(value=row.r_precision, low=row.r_precision_low, high=row.r_precision_high),
        quality=quality,
        smoke=too_few_prompts(row),
    )


def faster(a: Candidate, b: Candidate) -> bool:
    """Beyond noise. A latency without an interval (one sample) shows nothing."""
    return _apart(a.latency, b.latency) and a.latency.value * (1 + LATENCY_MARGIN) < b.latency.value


def smaller(a: Candidate, b: Candidate) -> bool:
    """Beyond noise."""
    return a.peak_memory_bytes * (1 + MEMORY_MARGIN) < b.peak_memory_bytes


def truer(a: Candidate, b: Candidate) -> bool:
    """A higher R-Precision, beyond noise."""
    pairs = _pairs(a, b)
    if pairs:
        return _gain(pairs) > 0 and mcnemar_p(pairs) < SIGNIFICANCE
    return _apart(b.r_precision, a.r_precision)


def dominates(a: Candidate, b: Candidate) -> bool:
    """Whether a removes b from the frontier: the rule at the head of this file."""
    if a.latency.value > b.latency.value * (1 + LATENCY_MARGIN):
        return False
    if a.peak_memory_bytes > b.peak_memory_bytes * (1 + MEMORY_MARGIN):
        return False
    pairs = _pairs(a, b)
    if (_gain(pairs) if pairs else a.r_precision.value - b.r_precision.value) < 0:
        return False
    return faster(a, b) or smaller(a, b) or truer(a, b)


def taking_part(candidates: Sequence[Candidate | None]) -> list[bool]:
    """For each row of a group, whether it is ranked with the others: not one that may not be ranked at all (None), nor
    a smoke run beside a full one."""
    full = any(c is not None and not c.smoke for c in candidates)
    return [c is not None and not (full and c.smoke) for c in candidates]


def frontier(candidates: Sequence[Candidate | None]) -> list[bool | None]:
    """For each candidate, whether no other removes it; None where it does not take part. Only candidates that may be
    compared belong here: one board, one gallery and judge, the same conditions."""
    ranked = [c for c, part in zip(candidates, taking_part(candidates)) if part]
    return [
        not any(dominates(a, b) for a in ranked) if part else None
        for b, part in zip(candidates, taking_part(candidates))
    ]


def _apart(lower: Interval, higher: Interval) -> bool:
    """Whether the whole first interval lies below the second."""
    return lower.high is not None and higher.low is not None and lower.high < higher.low


def _pairs(a: Candidate, b: Candidate) -> list[tuple[bool, bool]]:
    return hit_pairs(a.quality, b.quality) if a.quality and b.quality else []


def _gain(pairs: list[tuple[bool, bool]]) -> int:
    """Hits of the first more than of the second."""
    return sum(int(here) - int(there) for here, there in pairs)


@dataclass(frozen=True)
class Miss:
    """A row that a limit excludes."""

    row: PublishedRow
    why: str
    excess: float  # how far over the limit: 0.2 is 20 %; infinite without an upper bound


@dataclass(frozen=True)
class Answer:
    """What fits the limits. `tied` are the rows whose quality cannot be told from the best one's."""

    best: PublishedRow | None
    tied: tuple[PublishedRow, ...]
    nearest_miss: Miss | None  # of those with more quality than the best; of all, when nothing fits
    considered: int
    fitting: int


def comparable(rows: Iterable[PublishedRow]) -> dict[tuple[str, str | None, str], list[PublishedRow]]:
    """Rows by (device, board, prompt set): within one, a quality or a latency means the same thing. Where several
    judges or galleries scored a prompt set, each has its own group, named behind the set; rows without a score stand
    apart."""
    rows = list(rows)
    judges: dict[tuple[str, str | None, str], set[tuple]] = {}
    for row in rows:
        scored = {(row.judge, row.gallery_sha256)} if row.r_precision is not None else set()
        judges.setdefault(_place(row), set()).update(scored)
    groups: dict[tuple[str, str | None, str], list[PublishedRow]] = {}
    for row in rows:
        device, board, prompts = _place(row)
        if len(judges[device, board, prompts]) > 1 and row.r_precision is not None:
            prompts += f" ({row.judge or 'unknown judge'}, gallery {(row.gallery_sha256 or 'unknown')[:8]})"
        groups.setdefault((device, board, prompts), []).append(row)
    return groups


def _place(row: PublishedRow) -> tuple[str, str | None, str]:
    return (row.device, row.board, MODELS[row.model].prompts if row.model in MODELS else row.model)


def answer(
    rows: Iterable[PublishedRow],
    max_latency_s: float | None = None,
    max_memory_bytes: float | None = None,
    qualities: Mapping[Key, Quality] | None = None,
) -> Answer:
    """The configuration with the best quality within the limits (None: no limit).

    A latency fits when the upper end of its 95 % interval does; a memory when the measured peak does. Only ranked
    rows count: `on_frontier` is not None, and by today's rule they take part, since tables may be older than it. With
    `qualities` (outcomes a prompt, by `key`), ties are found by the paired test, else by overlapping intervals. The
    rows must be of one `comparable` group.
    """
    ranked = [row for row in rows if row.on_frontier is not None]
    if len(groups := comparable(ranked)) > 1:
        raise ValueError(
            f"rows of {len(groups)} boards, prompt sets or judges cannot be compared: {sorted(map(str, groups))}"
        )
    known = qualities or {}
    candidates = [candidate(row, known.get(key(row))) for row in ranked]
    ranked = [row for row, part in zip(ranked, taking_part(candidates)) if part]
    fitting, misses = [], []
    for row in ranked:
        miss = _miss(row, max_latency_s, max_memory_bytes)
        fitting.append(row) if miss is None else misses.append(miss)
    fitting.sort(key=lambda row: (-row.r_precision, row.latency_s, row.peak_memory_bytes, row.configuration))
    best = fitting[0] if fitting else None
    tied = ()
    if best is not None:
        top = candidate(best, known.get(key(best)))
        tied = tuple(row for row in fitting[1:] if not truer(top, candidate(row, known.get(key(row)))))
        misses = [miss for miss in misses if miss.row.r_precision > best.r_precision]
    nearest = min(misses, key=lambda miss: (miss.excess, -miss.row.r_precision, miss.row.configuration), default=None)
    return Answer(best, tied, nearest, considered=len(ranked), fitting=len(fitting))


def _miss(row: PublishedRow, max_latency_s: float | None, max_memory_bytes: float | None) -> Miss | None:
    """Why a row does not fit, or None when it does."""
    excess, reasons = 0.0, []
    if max_latency_s is not None:
        if row.latency_high_s is None:
            excess = math.inf
            reasons.append("its latency has no upper bound (one sample)")
        elif row.latency_high_s > max_latency_s:
            over = row.latency_high_s / max_latency_s - 1
            excess = max(excess, over)
            reasons.append(f"latency up to {row.latency_high_s:.4g} s is {100 * over:.1f} % over {max_latency_s:.4g} s")
    if max_memory_bytes is not None and row.peak_memory_bytes > max_memory_bytes:
        over = row.peak_memory_bytes / max_memory_bytes - 1
        excess = max(excess, over)
        reasons.append(
            f"peak memory {row.peak_memory_bytes / 1e9:.4g} GB is {100 * over:.1f} % over "
            f"{max_memory_bytes / 1e9:.4g} GB"
        )
    return Miss(row, "; ".join(reasons), excess) if reasons else None
