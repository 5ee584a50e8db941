"""Two runs of cells held against each other, whatever their sessions and boards. Without streamlit.

B is told against A: a ratio of 2 is twice A's, a difference of +3 points is B's gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas

from dashboard.commits import WHOLE, told
from dashboard.data import UNIDENTIFIED, identity
from dashboard.history import when
from dashboard.words import in_markdown
from leaderboards import cells
from suite.history import latest
from suite.judging.baselines import MEMORY_TOLERANCE
from suite.judging.intervals import ratio
from suite.judging.latency_change import judge_ratio
from suite.judging.latency_units import Unit, latency_in
from suite.judging.paired_quality import SIGNIFICANCE, change, hit_pairs, p_value
from suite.records import Fingerprint, Interval, Measurement, Status, Verdict

LATENCY_WORDS = {
    Verdict.REGRESSED: "slower",
    Verdict.IMPROVED: "faster",
    Verdict.PASS: "alike within 5 %",
    Verdict.UNCERTAIN: "not told apart",
}


@dataclass(frozen=True)
class Comparison:
    """`pairs_looked_at` are those that stand on the page together: so many looks make an accident likelier."""

    a: Measurement
    b: Measurement
    pairs_looked_at: int = 1

    @property
    def same_session(self) -> bool:
        return (self.a.session, self.a.board) == (self.b.session, self.b.board)

    @cached_property
    def latency(self) -> Interval | None:
        return _ratio_of(self, "second")

    @cached_property
    def relative_latency(self) -> Interval | None:
        """The same ratio after each is divided by its own session's reference; None where a session lacks one, or
        where a side is one."""
        sides = (self.a, self.b)
        its_own = any(m.reference is not None and m.reference.configuration == m.configuration for m in sides)
        return None if its_own else _ratio_of(self, "reference")

    @property
    def latency_verdict(self) -> Verdict | None:
        return None if self.latency is None else judge_ratio(self.latency)

    @property
    def memory(self) -> float | None:
        if self.a.memory is None or self.b.memory is None or self.a.memory.kind != self.b.memory.kind:
            return None
        return self.b.memory.peak_memory_bytes / self.a.memory.peak_memory_bytes

    @property
    def memory_differs(self) -> bool:
        return self.memory is not None and not 1 / (1 + MEMORY_TOLERANCE) <= self.memory <= 1 + MEMORY_TOLERANCE

    @cached_property
    def why_not_paired(self) -> str | None:
        a, b = self.a.quality, self.b.quality
        if a is None or b is None:
            return f"{'A' if a is None else 'B'} was not scored"
        if a.judge != b.judge:
            return f"judged by {a.judge} and by {b.judge}"
        if _gallery(self.a) != _gallery(self.b):
            return "ranked in different galleries"
        return None if hit_pairs(b, a) else "no prompt was scored on both"

    @cached_property
    def pairs(self) -> list[tuple[bool, bool]]:
        """(B hits, A hits) by prompt."""
        return [] if self.why_not_paired else hit_pairs(self.b.quality, self.a.quality)

    @cached_property
    def quality(self) -> Interval | None:
        return change(self.b.quality, self.a.quality) if self.pairs else None

    @cached_property
    def p(self) -> float | None:
        return p_value(self.b.quality, self.a.quality) if self.pairs else None

    @property
    def quality_differs(self) -> bool:
        """By Bonferroni over the pairs that stand together."""
        return self.p is not None and self.p < SIGNIFICANCE / self.pairs_looked_at

    @property
    def statuses_differ(self) -> bool:
        return self.a.status != self.b.status

    @property
    def significant(self) -> bool:
        told_apart = self.latency_verdict in (Verdict.REGRESSED, Verdict.IMPROVED)
        return told_apart or self.memory_differs or self.quality_differs or self.statuses_differ


def _ratio_of(c: Comparison, per: Unit) -> Interval | None:
    a, b = c.a, c.b
    if a.latency is None or b.latency is None or a.simulated or b.simulated:
        return None
    of_a, of_b = latency_in(a, per), latency_in(b, per)
    return None if of_a is None or of_b is None else ratio(of_b, of_a)


def _gallery(m: Measurement) -> str | None:
    return None if m.fingerprint is None else m.fingerprint.gallery_sha256


# What is held against what


def recipe(m: Measurement) -> str:
    """What names a cell on any board."""
    name = m.configuration.partition("@")[0]
    return name if m.weights is None else f"{name}, {m.weights} weights"


def board_of(m: Measurement) -> str:
    return f"{m.board or UNIDENTIFIED}, {m.device}"


def session_of(m: Measurement) -> str:
    return f"{m.session} on {board_of(m)}"


def row_of(m: Measurement) -> str:
    return f"{recipe(m)}; {m.measured_at[:19].replace('T', ' ')} UTC; {session_of(m)}"


def by_row(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Every measurement by its name, the newest first."""
    return {row_of(m): [m] for m in sorted(measurements, key=lambda m: m.measured_at, reverse=True)}


def by_session(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The sessions, the newest first."""
    found: dict[str, list[Measurement]] = {}
    for m in sorted(measurements, key=lambda m: m.measured_at, reverse=True):
        found.setdefault(session_of(m), []).append(m)
    return found


def by_board(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The boards with what each cell gave last, the newest first."""
    found: dict[str, list[Measurement]] = {}
    for m in sorted(latest(measurements), key=lambda m: m.measured_at, reverse=True):
        found.setdefault(board_of(m), []).append(m)
    return found


def start(
    groups: Mapping[str, Sequence[Measurement]], board: str | None = None, row: str | None = None
) -> tuple[str, str]:
    """What to open on: A the older, B the newer of the first two groups that share a cell; on the board and of the cell
    that were chosen on another page, where there are any."""
    wanted = [name for name, its in groups.items() if any(board in (None, m.board or UNIDENTIFIED) for m in its)]
    of_cell = [name for name in wanted if any(identity(m) == row for m in groups[name])]
    ordered = list(dict.fromkeys([*of_cell, *wanted, *groups]))
    cells_of = {name: {recipe(m) for m in groups[name]} for name in ordered}
    for place, newer in enumerate(ordered):
        if older := next((name for name in ordered[place + 1 :] if cells_of[newer] & cells_of[name]), None):
            return older, newer
    return ordered[-1], ordered[0]


def narrowed(names: Sequence[str], asked: str, keep: Iterable[str | None] = (), most: int = 500) -> list[str]:
    """The names that have all these words, in any case; no more than a browser shows well. What is chosen already
    stays."""
    words, kept = asked.casefold().split(), set(keep)
    found = [name for name in names if all(word in name.casefold() for word in words)]
    shown = kept.union(found[:most])
    return [name for name in names if name in shown]


def compare(a: Sequence[Measurement], b: Sequence[Measurement]) -> list[Comparison]:
    """One measurement with one, whatever they are; else the cells that both have. Those that differ come first."""
    if len(a) == len(b) == 1:
        return [Comparison(a[0], b[0])]
    there, here = _newest(a), _newest(b)
    common = [name for name in here if name in there]
    found = [Comparison(there[name], here[name], len(common)) for name in common]
    return sorted(found, key=lambda c: (not c.significant, recipe(c.a)))


def left_out(a: Sequence[Measurement], b: Sequence[Measurement]) -> list[str]:
    """The cells that only one side has."""
    return [] if len(a) == len(b) == 1 else sorted(_newest(a).keys() ^ _newest(b).keys())


def _newest(measurements: Iterable[Measurement]) -> Mapping[str, Measurement]:
    return {recipe(m): m for m in sorted(measurements, key=lambda m: m.measured_at)}


# What is said (Markdown)


def verdict(found: Sequence[Comparison]) -> str:
    """The line on top."""
    if not found:
        return "**No cell was measured on both sides**, so there is nothing to compare."
    if len(found) == 1:
        return sentence(found[0])
    differing = [c for c in found if c.significant]
    counts = {
        "slower": sum(c.latency_verdict == Verdict.REGRESSED for c in found),
        "faster": sum(c.latency_verdict == Verdict.IMPROVED for c in found),
        "of other memory": sum(c.memory_differs for c in found),
        "of lower quality": sum(c.quality_differs and c.quality.value < 0 for c in found),
        "of higher quality": sum(c.quality_differs and c.quality.value > 0 for c in found),
        "ended otherwise": sum(c.statuses_differ for c in found),
    }
    told_ = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"**B differs from A in {len(differing)} of {len(found)} cells**" + (f": {told_}." if told_ else ".")


def sentence(c: Comparison) -> str:
    if c.statuses_differ:
        return f"**A ended as {c.a.status.value}, B as {c.b.status.value}.** {in_markdown(_reasons(c))}".strip()
    said = (
        [f"**B is {LATENCY_WORDS[c.latency_verdict]}**: {ratio_said(c.latency)} of A's latency."] if c.latency else []
    )
    if c.memory is not None:
        said.append(f"Peak memory {cells.times(c.memory)}{'' if c.memory_differs else ' (alike within 2 %)'}.")
    if c.quality is not None:
        apart = "**differs**" if c.quality_differs else "is not told apart"
        said.append(f"Quality {apart}: {points_said(c.quality)}, p = {c.p:.2g} on {len(c.pairs)} prompts.")
    else:
        said.append(f"Quality is not compared: {in_markdown(c.why_not_paired)}.")
    return " ".join(said)


def _reasons(c: Comparison) -> str:
    return "; ".join(m.reason for m in (c.a, c.b) if m.status != Status.OK and m.reason)


def session_said(c: Comparison) -> str:
    """Whether the machine's condition is the same, and what the ratio is without it."""
    if c.same_session:
        return "Same session: the machine was in one condition."
    said = "Other sessions: the machine may have been in another condition."
    if c.relative_latency is not None and c.a.board == c.b.board:
        said += f" Each over its own session's fp32 the ratio is {ratio_said(c.relative_latency)}."
    return said


def ratio_said(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{cells.times(interval.value)} (one sample has no interval)"
    return f"{cells.times(interval.value)} (95 % interval {interval.low:.2f} to {interval.high:.2f})"


def points_said(interval: Interval) -> str:
    value, low, high = (f"{100 * end:+.1f}" for end in (interval.value, interval.low, interval.high))
    return f"{value} points (95 % interval {low} to {high})"


# Tables


def table(found: Iterable[Comparison]) -> pandas.DataFrame:
    """A line a cell. Empty where a side did not measure it."""
    return pandas.DataFrame(
        {
            "cell": recipe(c.a),
            "latency, B over A": c.latency and c.latency.value,
            "latency, 95 %": cells.DASH
            if c.latency is None or c.latency.low is None
            else f"{c.latency.low:.2f} to {c.latency.high:.2f}",
            "latency": cells.DASH if c.latency_verdict is None else LATENCY_WORDS[c.latency_verdict],
            "memory, B over A": c.memory,
            "quality, points": c.quality and 100 * c.quality.value,
            "quality, 95 %": cells.DASH
            if c.quality is None
            else f"{100 * c.quality.low:+.1f} to {100 * c.quality.high:+.1f}",
            "p": c.p,
            "A ended": c.a.status.value,
            "B ended": c.b.status.value,
            "same session": c.same_session,
        }
        for c in found
    )


def environment(c: Comparison, missing: frozenset[str] = frozenset()) -> pandas.DataFrame:
    """Everything that decides whether two runs may be compared, and when and from what they came; what differs is
    marked."""
    names = list(Fingerprint.model_fields)
    sides = [
        {"session": m.session, "measured": when(m), "commit": told(m.commit, missing, WHOLE), "weights": m.weights}
        | ({name: getattr(m.fingerprint, name) for name in names} if m.fingerprint else {})
        for m in (c.a, c.b)
    ]
    a, b = ({name: cells.DASH if value is None else str(value) for name, value in side.items()} for side in sides)
    return pandas.DataFrame(
        {"": name, "A": a.get(name, cells.DASH), "B": b.get(name, cells.DASH), "differs": a.get(name) != b.get(name)}
        for name in ("session", "measured", "commit", "weights", *names)
    )


def differing_prompts(c: Comparison) -> pandas.DataFrame:
    """The prompts that one side hits and the other misses, with the lead of the own caption over the best other."""
    there = {o.prompt: o for o in c.a.quality.outcomes} if c.pairs else {}
    here = {o.prompt: o for o in c.b.quality.outcomes} if c.pairs else {}
    lines = [
        {
            "prompt": prompt,
            "hit by": "A" if a.rank_153 == 0 else "B",
            "A's rank": a.rank_153 + 1,
            "B's rank": b.rank_153 + 1,
            "A's lead": a.margin_153,
            "B's lead": b.margin_153,
        }
        for prompt, b in here.items()
        if (a := there.get(prompt)) is not None and (a.rank_153 == 0) != (b.rank_153 == 0)
    ]
    return pandas.DataFrame(lines)
