"""The frontier of one board and one kind of output under noise.

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

from collections.abc import Iterable, Sequence

from leaderboards.dominance import Candidate, Figure, objectives, removed, unbeaten
from suite.catalogue.models import MODELS
from suite.records import GALLERY_SIZE, Measurement, PublishedRow, Quality, Status

FAILED_QUALITY = "failed quality: no better than chance (1 in {gallery:,})"
# Of quality: by field, the captions in its gallery. None: no retrieval, so R-Precision says what is mere chance.
AXES = {"r_precision": GALLERY_SIZE, "r_precision_3001": 3001, "f_score_to_fp32": None}

_ENDS = {axis: (axis, f"{axis}_low", f"{axis}_high") for axis in AXES}

Key = tuple[str, str | None, str | None]


def key(row: PublishedRow | Measurement) -> Key:
    """What tells two rows of measurements apart: configuration, board and kind of weights."""
    return (row.configuration, row.board, row.weights)


def share(row: PublishedRow, axis: str = "r_precision") -> Figure | None:
    """A row's quality on that axis with its interval, None where it was not scored."""
    value, low, high = (getattr(row, field) for field in _ENDS[axis])
    return None if value is None else Figure(value, low, high)


def no_better_than_chance(row: PublishedRow, axis: str = "r_precision") -> bool:
    """Whether a row was scored and its interval does not lie above what objects that were made without looking at
    their prompts hit. Without an interval the share counts."""
    if AXES[axis] is None:
        return no_better_than_chance(row)
    found = share(row, axis)
    return found is not None and (found.value if found.low is None else found.low) <= 1 / AXES[axis]


def too_few_prompts(row: PublishedRow) -> bool:
    """Whether a row is a smoke run that stands on its own few prompts; one that took the outcomes of the others from a
    committed session stands on as many as a full row."""
    return row.smoke and row.outcomes_from is None


def why_unranked(row: PublishedRow, axis: str = "r_precision") -> str | None:
    """Why a row has no place on a frontier, whatever stands beside it, or None when it may be ranked."""
    if row.source != "measured":
        return "published elsewhere, not measured here"
    if row.status != Status.OK:
        return f"status {row.status.value}"
    if no_better_than_chance(row, axis):
        return FAILED_QUALITY.format(gallery=AXES[axis] or GALLERY_SIZE)
    for flag in ("simulated", "extrapolated"):
        if getattr(row, flag):
            return flag
    if row.weights == "random":
        return "random weights"
    missing = [name for name in ("latency_s", "peak_memory_bytes", axis) if getattr(row, name) is None]
    return f"no {', no '.join(missing)}" if missing else None


def candidate(row: PublishedRow, quality: Quality | None = None, axis: str = "r_precision") -> Candidate | None:
    """A row's objectives, or None when it may not be ranked."""
    if why_unranked(row, axis) is not None:
        return None
    return Candidate(
        latency=Figure(row.latency_s, row.latency_low_s, row.latency_high_s),
        peak_memory_bytes=row.peak_memory_bytes,
        r_precision=share(row, axis),
        quality=None if AXES[axis] is None else quality,  # of hits in a gallery
        smoke=too_few_prompts(row),
        gallery=AXES[axis] or GALLERY_SIZE,
    )


def dominates(a: Candidate, b: Candidate) -> bool:
    """Whether a removes b from the frontier: the rule at the head of this file."""
    rows = objectives([a, b])
    return bool(removed(rows[:1], rows[1:])[0])


def taking_part(candidates: Sequence[Candidate | None]) -> list[bool]:
    """For each row of a group, whether it is ranked with the others: not one that may not be ranked at all (None), nor
    a smoke run beside a full one."""
    full = any(c is not None and not c.smoke for c in candidates)
    return [c is not None and not (full and c.smoke) for c in candidates]


def frontier(candidates: Sequence[Candidate | None]) -> list[bool | None]:
    """For each candidate, whether no other removes it; None where it does not take part. Only candidates that may be
    compared belong here: one board and kind of output, one gallery and judge, the same conditions."""
    part = taking_part(candidates)
    kept = iter(unbeaten([c for c, ranked in zip(candidates, part) if ranked]))
    return [bool(next(kept)) if ranked else None for ranked in part]


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
