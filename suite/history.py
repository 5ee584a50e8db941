"""The journal, and pytest-benchmark's storage, read into one list of measurements.

The journal is the truth: each finished measurement is one file, written at once (`suite.saving`). The session's
pytest-benchmark JSON repeats all of them under its top-level key `cells`. Committed runs are such JSON files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError
from pydantic_core import from_json

from suite.fields import latest_believed, whole_text
from suite.judging.borrowing import Committed
from suite.machine import SessionMachine
from suite.records import PROTOCOL, SCHEMA_VERSION, Measurement, Status, first_error

ROOT = Path(__file__).parents[1]
LOCAL = ROOT / ".benchmarks"
COMMITTED = ROOT / "leaderboards" / "history"
CELLS = "cells"  # the key under which a session's JSON repeats its measurements
MACHINE = "session_machine"  # the key of what the session kept of its machine; files of before have none
MACHINE_FILE = "machine"  # the same in a journal; not called *.json, which earlier versions would take for a cell
BEGUN = "begun"  # marks a journal
QUARANTINE = "quarantine"
ROW_KEYS = {"configuration", "source", "on_frontier"}  # of a published table
UNREADABLE = (ValueError, KeyError, TypeError, OSError, RecursionError)  # of a file that anybody may have written


class HistoryError(RuntimeError):
    """The history cannot be written; says where, why and what to do."""


class Unparsable(ValueError):
    """Text that is no JSON that can be read."""


class NewerSchema(ValueError):
    """A file of a later version of the suite."""


@dataclass
class History:
    measurements: list[Measurement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # one line a file or cell that could not be read
    machines: dict[tuple[str | None, str], SessionMachine] = field(default_factory=dict)  # by board and session

    def extend(self, other: History) -> None:
        self.measurements += other.measurements
        self.machines = other.machines | self.machines
        self.problems += other.problems


@dataclass
class Contents:
    """What one file holds: its measurements, and their records by their numbers among its cells; a line for each cell
    that could not be read, or why the whole file could not be. Lines are without the file's name."""

    measurements: list[Measurement] = field(default_factory=list)
    cells: dict[int, dict] = field(default_factory=dict)
    keys: list[tuple] | None = None  # of the measurements, where they are known: `_keys`
    machine: SessionMachine | None = None
    problems: list[str] = field(default_factory=list)
    error: Unread | None = None


@dataclass(frozen=True)
class Unread:
    why: str
    broken: bool  # the file itself: neither of a newer version, nor out of reach
    passing: bool = False  # out of reach just now


def read_folder(folder: Path, *, set_aside: bool = True) -> History:
    """All measurements below a folder, oldest first. What cannot be read is reported; a broken file of ours, in the
    project's own history, is set aside besides, unless the caller only looks."""
    return gathered(folder, ((path, contents_of(path)) for path in history_files(folder)), set_aside)


def history_files(folder: Path) -> list[Path]:
    """In the order in which they count: a session's JSON repeats its journal, which is the truth."""
    machines = [path for path in folder.rglob(MACHINE_FILE) if (path.parent / BEGUN).exists()]
    found = [path for path in (*machines, *folder.rglob("*.json")) if QUARANTINE not in path.parts]
    return sorted(found, key=lambda path: ("journal" not in path.parts, str(path)))


def gathered(folder: Path, files: Iterable[tuple[Path, Contents]], set_aside: bool) -> History:
    """One history of the contents of a folder's files."""
    history = History()
    held: dict[tuple, tuple[Measurement, Path]] = {}
    for path, found in files:
        if found.error is not None:
            said = _set_aside(path, folder, found.error) if set_aside else f"{path}: {found.error.why}; not read"
            history.problems.append(whole_text(said))
            continue
        history.problems += [whole_text(f"{path}: {problem}") for problem in found.problems]
        if found.machine is not None:  # a journal's comes first, and is the truth
            history.machines.setdefault((found.machine.board, found.machine.session), found.machine)
        history.problems += _take(held, found, path)
    history.measurements = [m for _, (m, _) in sorted(held.items(), key=lambda item: item[0][-1])]
    return history


def contents_of(path: Path) -> Contents:
    """A file's contents, or why it has none."""
    try:
        return _read_file(path)
    except UNREADABLE as error:
        passing = isinstance(error, OSError)
        return Contents(error=Unread(_why(error), not passing and not isinstance(error, NewerSchema), passing))


def _keys(measurements: Iterable[Measurement]) -> list[tuple]:
    """What names a measurement; its time comes last."""
    return [(m.session, m.board, m.configuration, m.measured_at) for m in measurements]


def _take(held: dict[tuple, tuple[Measurement, Path]], contents: Contents, path: Path) -> list[str]:
    """Add a file's measurements to those of the files before it; what is to be said of them."""
    said, ahead = [], latest_believed()
    keys = _keys(contents.measurements) if contents.keys is None else contents.keys
    for key, m in zip(keys, contents.measurements):
        if key not in held:
            held[key] = (m, path)
        session, _, configuration, measured_at = key
        first, where = held[key]
        if first is not m and first != m:
            said.append(f"{path}: {configuration} of session {session} is not as in {where}; only the latter counts")
        if measured_at > ahead and where == path:
            said.append(f"{path}: {configuration} was measured at {measured_at}, which is still to come; it counts")
    return said


class Readable(Protocol):
    """A file, or what stands for one."""

    def read_text(self, encoding: str) -> str: ...


def read_session(path: Readable) -> History:
    """The measurements of one file. HistoryError when it is no such file."""
    try:
        found = _read_file(path)
    except UNREADABLE as error:
        raise HistoryError(whole_text(f"{path}: {_why(error)}")) from error
    machines = {} if found.machine is None else {(found.machine.board, found.machine.session): found.machine}
    return History(found.measurements, [f"{path}: {problem}" for problem in found.problems], machines)


def parse(text: str) -> object:
    """JSON. Unparsable, in words, where it is none or is nested so deep that nobody meant it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise Unparsable("nested too deep to be read") from None
    except ValueError as error:
        raise Unparsable(f"not JSON: {error}") from None


def data_of(path: Readable) -> object:
    """A file's JSON. Unparsable, in words, where it is none."""
    text = path.read_text(encoding="utf-8")
    try:
        return from_json(text)  # faster than `json`, which takes some more and has the words
    except ValueError:
        return parse(text)


def _read_file(path: Readable) -> Contents:
    """The cells of a file that can be read, and a line for each that cannot. An error when none can."""
    data = data_of(path)
    if _is_published_table(data):
        return Contents()
    if isinstance(data, dict) and data.keys() == {MACHINE}:
        return Contents(machine=machine_of(data[MACHINE]))
    found, errors, cells = Contents(), [], cells_of(data)
    if isinstance(data, dict) and "configuration" not in data:  # else it is one journalled measurement
        try:
            found.machine = machine_of(data[MACHINE]) if data.get(MACHINE) is not None else None
        except (ValueError, TypeError, RecursionError) as error:
            found.problems.append(f"{MACHINE}: {_why(error)}; its cells are read")
    for number, cell in enumerate(cells):
        try:
            found.measurements.append(measurement_of(cell))
            found.cells[number] = cell
        except (ValueError, TypeError, RecursionError) as error:
            errors.append(error)
            name = cell.get("configuration") if isinstance(cell, dict) else None
            found.problems.append(f"{CELLS}.{number} ({name}): {_why(error)}; the others are read")
    if errors and not found.measurements:
        raise errors[0]
    return found


def cells_of(data: object) -> list:
    """The records in a file's JSON: of a session, or the one of a journal. ValueError where it is neither."""
    if not isinstance(data, dict) or not {"configuration", "benchmarks"} & data.keys():
        raise ValueError("neither a measurement nor a pytest-benchmark file")
    cells = [data] if "configuration" in data else data.get(CELLS, [])
    if not isinstance(cells, list):
        raise ValueError(f"{CELLS}: expected a list")
    return cells


def measurement_of(record: object) -> Measurement:
    """A record as it was read. NewerSchema, or pydantic's error with the field, where it is none."""
    _refuse_newer(record)
    return Measurement.model_validate(record)


def _refuse_newer(record: object) -> None:
    version = record.get("schema_version") if isinstance(record, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(f"written by a newer text3d-bench (schema {version}, this one knows {SCHEMA_VERSION})")


def machine_of(record: object) -> SessionMachine:
    """What a session kept of its machine. NewerSchema, or pydantic's error with the field, where it is none."""
    _refuse_newer(record)
    return SessionMachine.model_validate(record)


def _is_published_table(data: object) -> bool:
    """Rows made from measurements; `make bench` writes them beside the local runs."""
    return (
        isinstance(data, list) and bool(data) and all(isinstance(row, dict) and ROW_KEYS <= row.keys() for row in data)
    )


def _is_ours(path: Path) -> bool:
    """In the project's own history: where session files and journals lie, or a file that says it is one of them."""
    path = path.resolve()
    root = next((root for root in (LOCAL, COMMITTED) if path.is_relative_to(root.resolve())), None)
    if root is None:
        return False
    board, *rest = path.relative_to(root.resolve()).parts
    if (len(rest) == 1 and re.match(r"\d{4}_", rest[0])) or (len(rest) == 3 and rest[0] == "journal"):
        return True
    try:
        data = parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(data, dict) and (CELLS in data or {"configuration", "session", "schema_version"} <= data.keys())


def _set_aside(path: Path, folder: Path, error: Unread) -> str:
    why = error.why
    if not error.broken or not _is_ours(path):
        return f"{path}: {why}; left where it is, not read"
    target = folder / QUARANTINE / path.relative_to(folder)
    copies = 1
    while target.exists():
        copies += 1
        target = target.with_name(f"{path.stem}-{copies}{path.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        return f"{path}: {why}; moved to {target}"
    except OSError:
        return f"{path}: {why}; left where it is, not read"


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_error(error)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def latest(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The newest measurement of each configuration, board and kind of weights; a smoke run never replaces a full one,
    nor an extrapolated latency that of whole objects, nor one that failed to start (needs-weights) one that ran."""
    chosen: dict[tuple, tuple[Measurement, str, int]] = {}
    for m in sorted(measurements, key=attrgetter("measured_at")):
        key, protocol, weight = (m.configuration, m.board, m.weights), m.protocol, _weight(m)
        held = chosen.get(key)
        if held is None or protocol != held[1] or weight >= held[2]:
            chosen[key] = (m, protocol, weight)
    return [m for m, _, _ in chosen.values()]


def committed_outcomes(measurements: Iterable[Measurement]) -> dict[tuple[str, str | None], Committed]:
    """The newest full quality of each recipe and kind of weights, whatever it was measured on: outcomes do not hang on
    the machine (`suite/judging/borrowing.py`)."""
    found: dict[tuple[str, str | None], Committed] = {}
    for m in sorted(measurements, key=lambda m: m.measured_at):
        if m.quality is None or m.status != Status.OK or m.smoke or m.protocol != PROTOCOL or m.fingerprint is None:
            continue
        found[m.configuration.partition("@")[0], m.weights] = outcomes_of(m)
    return found


def outcomes_of(m: Measurement) -> Committed:
    """Of a measurement with a quality and a fingerprint."""
    return Committed(
        session=m.session,
        board=m.board,
        measured_at=m.measured_at,
        weights_sha256=m.fingerprint.weights_sha256,
        gallery_sha256=m.fingerprint.gallery_sha256,
        quality=m.quality,
    )


def _weight(m: Measurement) -> int:
    status = m.status
    if status != Status.OK:
        unread = status == Status.UNSUPPORTED and m.smoke  # that session's own prompts ruled it out
        if status in (Status.NOT_HERE, Status.NEEDS_WEIGHTS) or unread:
            return 0
    return 1 if m.extrapolated else 2 if m.smoke else 3
