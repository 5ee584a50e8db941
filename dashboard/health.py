"""Every cell of a device's matrix on one board: measured, stale, failed, absent or not possible, and why; and what the
newest session kept of its machine. Without streamlit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median

import pandas

from dashboard.ages import days_between
from dashboard.commits import told_of
from leaderboards import cells as text
from suite.configurations import Configuration, matrix
from suite.fields import latest_believed
from suite.history import latest
from suite.machine import Run, SessionMachine, State
from suite.records import PROTOCOL, Measurement, Status

STALE_DAYS = 30  # before the board's newest run: drivers and code have moved on since


class Condition(str, Enum):
    """In the order of what needs a person first."""

    FAILED = "failed"
    STALE = "stale"
    ABSENT = "absent"
    IMPOSSIBLE = "not possible"
    MEASURED = "measured"


@dataclass(frozen=True)
class Cell:
    configuration: str
    condition: Condition
    why: str  # empty where there is nothing to say
    newest: Measurement | None = None  # of one kind of weights
    command: str | None = None  # that measures it; None where it left the matrix or cannot run


def cells_of(device: str, runs: Sequence[Measurement]) -> list[Cell]:
    """The matrix of a device, and what ran without being in it; what needs a person comes first."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for m in latest(runs):
        found[m.configuration].append(m)
    until = max((m.measured_at for m in runs), default="")
    good = {(m.configuration, m.weights): m for m in runs if m.status == Status.OK}  # runs come oldest first
    known = {configuration.id: configuration for configuration in matrix() if configuration.device.name == device}
    cells = []
    for name in dict.fromkeys([*known, *sorted(found)]):
        configuration = known.get(name)
        its = [_measured(m, until, good.get((name, m.weights)), configuration) for m in found.get(name, [])]
        cells += its or [_not_measured(configuration)]
    order = list(Condition)
    return sorted(cells, key=lambda cell: order.index(cell.condition))


def _measured(m: Measurement, until: str, good: Measurement | None, configuration: Configuration | None) -> Cell:
    command = configuration.command if configuration else None
    if m.status == Status.UNSUPPORTED:
        return Cell(m.configuration, Condition.IMPOSSIBLE, m.reason or "", m)
    if m.status in (Status.NEEDS_WEIGHTS, Status.NOT_HERE):
        return Cell(m.configuration, Condition.ABSENT, m.reason or m.status.value, m, command)
    if m.status != Status.OK:
        last = "never ended well here" if good is None else f"last ended well on {good.measured_at[:10]}"
        return Cell(
            m.configuration, Condition.FAILED, f"{m.status.value}: {m.reason or 'no reason kept'}; {last}", m, command
        )
    if m.protocol != PROTOCOL:
        why = f"measured by protocol {m.protocol}; today's is {PROTOCOL}, by which figures mean something else"
        return Cell(m.configuration, Condition.STALE, why, m, command)
    if m.measured_at > latest_believed():
        return Cell(
            m.configuration, Condition.MEASURED, f"dated {m.measured_at[:10]}, which is still to come", m, command
        )
    if (days := days_between(m.measured_at, until)) > STALE_DAYS:
        return Cell(m.configuration, Condition.STALE, f"{days:.0f} days older than the board's newest run", m, command)
    return Cell(m.configuration, Condition.MEASURED, text.DASH if m.quality else "not scored", m, command)


def _not_measured(configuration: Configuration) -> Cell:
    if configuration.unsupported is not None:
        return Cell(configuration.id, Condition.IMPOSSIBLE, configuration.unsupported)
    why = "never measured on this board"
    if "embedded" not in configuration.model.weights:
        why += "; its weights are fetched by hand (docs/weights.md)"
    return Cell(configuration.id, Condition.ABSENT, why, None, configuration.command)


def counts(cells: Iterable[Cell]) -> dict[Condition, int]:
    found = Counter(cell.condition for cell in cells)
    return {condition: found[condition] for condition in Condition}


def summary(cells: Sequence[Cell]) -> str:
    """ "68 cells: 60 measured, 2 failed, 6 absent." """
    said = [f"{count} {condition.value}" for condition, count in counts(cells).items() if count]
    return f"{len(cells)} cells: {', '.join(said)}."


def by_model(cells: Sequence[Cell]) -> pandas.DataFrame:
    """How many cells of each model are in each condition."""
    names = dict.fromkeys(cell.configuration.partition("/")[0] for cell in cells)
    lines = []
    for name in names:
        its = counts(cell for cell in cells if cell.configuration.partition("/")[0] == name)
        lines.append({"model": name} | {condition.value: its[condition] for condition in Condition})
    return pandas.DataFrame(lines)


def table(cells: Sequence[Cell], missing: frozenset[str] = frozenset()) -> pandas.DataFrame:
    """A line a cell, for people."""
    return pandas.DataFrame(
        {
            "configuration": cell.configuration.partition("@")[0],
            "condition": cell.condition.value,
            "why": cell.why or text.DASH,
            "weights": (cell.newest and cell.newest.weights) or text.DASH,
            "newest run, UTC": cell.newest.measured_at[:16].replace("T", " ") if cell.newest else text.DASH,
            "session": cell.newest.session if cell.newest else text.DASH,
            "commit": told_of(cell.newest, missing),
            "measure it with": cell.command or text.DASH,
        }
        for cell in cells
    )


# The machine of the newest session


def newest_session(runs: Sequence[Measurement]) -> list[Measurement]:
    newest = max(runs, key=lambda m: m.measured_at)
    return [m for m in runs if m.session == newest.session]


def conditions(runs: Sequence[Measurement]) -> pandas.DataFrame:
    """What the fingerprints of one session say; more than one value is a warning in itself."""
    names = ("chip", "driver", "power_mode", "clocks", "threads", "settings", "python", "torch", "protocol")
    prints = [m.fingerprint for m in runs if m.fingerprint is not None]
    lines = []
    for name in names:
        values = sorted({str(value) for printed in prints if (value := getattr(printed, name)) is not None})
        lines.append({"condition": name.replace("_", " "), "of the newest session": ", ".join(values) or text.DASH})
    return pandas.DataFrame(lines)


def checks_table(machine: SessionMachine) -> pandas.DataFrame:
    """What was looked at before the last run of this session, what is not ok first."""
    order = [State.FAIL, State.WARN, State.UNKNOWN, State.OK]
    checks = sorted(machine.runs[-1].checks, key=lambda check: order.index(check.state))
    return pandas.DataFrame(
        {
            "check": check.name,
            "state": check.state.value,
            "found": check.found,
            "what to do": check.advice or text.DASH,
            "device": check.device or "the machine",
        }
        for check in checks
    )


def machine_said(machine: SessionMachine) -> list[str]:
    """How the machine was at both ends of the session's runs."""
    said = [f"Unsteady: {why}" for why in machine.unsteady]
    for number, run in enumerate(machine.runs, 1):
        name = f"Run {number} of {len(machine.runs)}: " if len(machine.runs) > 1 else ""
        said.append(f"{name}{_ends(run)}")
        said += [f"{name}noticed: {what}" for what in run.noticed]
    return said


def _ends(run: Run) -> str:
    start, end = run.start, run.end
    said = f"began {start.at[:16].replace('T', ' ')} UTC"
    said += f", ended {end.at[:16].replace('T', ' ')} UTC" if end else ", never came to its end"
    canaries = [median(at.canary_samples_s) for at in (start, end) if at is not None and at.canary_samples_s]
    if canaries:
        said += f"; canary {' then '.join(text.time(seconds) for seconds in canaries)}"
    modes = {f"{device} {mode}" for device, mode in start.power_modes.items() if mode}
    return said + (f"; power mode {', '.join(sorted(modes))}" if modes else "")
