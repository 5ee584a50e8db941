"""The newest measurement of each configuration against its pinned baseline: regressed, improved, uncertain, pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.judging.baselines import FOLDER, Change, judge, load_baselines, overall
from suite.records import NOT_RUN, Measurement, Verdict

ORDER = (Verdict.REGRESSED, Verdict.UNCERTAIN, Verdict.IMPROVED, Verdict.NO_BASELINE, Verdict.PASS)


@dataclass(frozen=True)
class Compared:
    measurement: Measurement
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> Verdict:
        return overall(change.verdict for change in self.changes)


def compare(measurements: Iterable[Measurement], folder: Path = FOLDER) -> dict[str, list[Compared] | None]:
    """By board, its configurations' newest measurements that are not pinned; None where nothing is pinned."""
    newest: dict[str, dict[tuple, Measurement]] = {}
    pinned = {}
    sessions: dict[tuple, set[str]] = {}  # that are pinned, by cell
    for m in sorted(measurements, key=lambda m: m.measured_at):
        if m.board is None or m.status in NOT_RUN:
            continue
        if m.board not in pinned:
            pinned[m.board] = load_baselines(m.board, folder)
        found, cell = newest.setdefault(m.board, {}), (m.configuration, m.weights)
        if (m.board, cell) not in sessions:
            baseline = pinned[m.board] and pinned[m.board].of(m)
            sessions[m.board, cell] = {s.session for s in baseline.sessions} if baseline else set()
        if m.session not in sessions[m.board, cell]:
            found[cell] = m
    return {
        board: None
        if pinned[board] is None
        else [Compared(m, tuple(judge(m, pinned[board].of(m)))) for m in found.values()]
        for board, found in newest.items()
    }


def lines(board: str, compared: Sequence[Compared] | None) -> list[str]:
    """What to print of one board: a count, then each configuration, the worst first, with the reasons."""
    if compared is None:
        return [f"board {board}: no baseline; `python -m suite.baselines pin --board {board}` pins one"]
    if not compared:
        return [f"board {board}: nothing measured since the baseline was pinned"]
    counts = Counter(c.verdict for c in compared)
    said = [
        f"board {board}, against the baseline: "
        + ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in ORDER if counts[verdict])
    ]
    width = max(len(c.measurement.configuration) for c in compared)
    for c in sorted(compared, key=lambda c: ORDER.index(c.verdict)):
        said.append(f"{c.measurement.configuration:{width}}  {c.verdict.value}")
        told = [change for change in c.changes if change.verdict != Verdict.PASS]
        when = _when(c.measurement)
        said += [f"{'':{width}}  {change.quantity} {change.verdict.value}: {change.reason} ({when})" for change in told]
    return said


def _when(m: Measurement) -> str:
    return f"measured {m.measured_at[:16].replace('T', ' ')} UTC" + (f" at commit {m.commit}" if m.commit else "")


def without_baseline(compared: Mapping[str, Sequence[Compared] | None]) -> list[str]:
    """The boards, and the configurations on a board, that were held against nothing."""
    boards = [board for board, found in compared.items() if found is None]
    cells = [
        c.measurement.configuration
        for found in compared.values()
        for c in found or ()
        if c.verdict == Verdict.NO_BASELINE
    ]
    return boards + cells


def regressed(compared: Iterable[Sequence[Compared] | None]) -> bool:
    return any(c.verdict == Verdict.REGRESSED for found in compared for c in found or ())
