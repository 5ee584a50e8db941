"""The journal, and pytest-benchmark's storage, read into one list of measurements.

The journal is the truth: each finished measurement is one file, written at once. The session's pytest-benchmark
JSON repeats all of them under its top-level key `cells`. Committed runs are such JSON files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from suite.fields import lies_ahead, whole_text
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
CLOSED = "closed"  # marks a journal whose session ended and saved


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


def read_folder(folder: Path, *, set_aside: bool = True) -> History:
    """All measurements below a folder, oldest first. What cannot be read is reported; a broken file of ours, in the
    project's own history, is set aside besides, unless the caller only looks."""
    history = History()
    held: dict[tuple, tuple[Measurement, Path]] = {}
    machines = [path for path in folder.rglob(MACHINE_FILE) if (path.parent / BEGUN).exists()]
    for path in sorted([*machines, *folder.rglob("*.json")], key=_journals_first):
        if QUARANTINE in path.parts:
            continue
        try:
            found = _read_file(path)
        except UNREADABLE as error:
            said = _set_aside(path, folder, error) if set_aside else f"{path}: {_why(error)}; not read"
            history.problems.append(whole_text(said))
            continue
        history.problems += map(whole_text, found.problems)
        history.machines = found.machines | history.machines  # a journal's comes first, and is the truth
        history.problems += _take(held, found.measurements, path)
    history.measurements = sorted((m for m, _ in held.values()), key=lambda m: m.measured_at)
    return history


def _journals_first(path: Path) -> tuple[bool, str]:
    """A session's JSON repeats its journal, which is the truth."""
    return "journal" not in path.parts, str(path)


def _take(held: dict[tuple, tuple[Measurement, Path]], measurements: list[Measurement], path: Path) -> list[str]:
    """Add a file's measurements to those of the files before it; what is to be said of them."""
    said = []
    for m in measurements:
        key = (m.session, m.board, m.configuration, m.measured_at)
        first, where = held.setdefault(key, (m, path))
        if first != m:
            said.append(
                f"{path}: {m.configuration} of session {m.session} is not as in {where}; only the latter counts"
            )
        if where == path and lies_ahead(m.measured_at):
            said.append(f"{path}: {m.configuration} was measured at {m.measured_at}, which is still to come; it counts")
    return said


def read_session(path: Path) -> History:
    """The measurements of one file. HistoryError when it is no such file."""
    try:
        return _read_file(path)
    except UNREADABLE as error:
        raise HistoryError(whole_text(f"{path}: {_why(error)}")) from error


def parse(text: str) -> object:
    """JSON. Unparsable, in words, where it is none or is nested so deep that nobody meant it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise Unparsable("nested too deep to be read") from None
    except ValueError as error:
        raise Unparsable(f"not JSON: {error}") from None


def _read_file(path: Path) -> History:
    """The cells of a file that can be read, and a line for each that cannot. An error when none can."""
    data = parse(path.read_text(encoding="utf-8"))
    if _is_published_table(data):
        return History()
    if isinstance(data, dict) and data.keys() == {MACHINE}:
        return History(machines=_machines(machine_of(data[MACHINE])))
    if not isinstance(data, dict) or not {"configuration", "benchmarks"} & data.keys():
        raise ValueError("neither a measurement nor a pytest-benchmark file")
    if "configuration" in data:  # one journalled measurement
        return History([measurement_of(data)])
    if not isinstance(cells := data.get(CELLS, []), list):
        raise ValueError(f"{CELLS}: expected a list")
    history, errors = History(), []
    try:
        history.machines = _machines(machine_of(data[MACHINE])) if data.get(MACHINE) is not None else {}
    except (ValueError, TypeError, RecursionError) as error:
        history.problems.append(f"{path}: {MACHINE}: {_why(error)}; its cells are read")
    for number, cell in enumerate(cells):
        try:
            history.measurements.append(measurement_of(cell))
        except (ValueError, TypeError, RecursionError) as error:
            errors.append(error)
            name = cell.get("configuration") if isinstance(cell, dict) else None
            history.problems.append(f"{path}: {CELLS}.{number} ({name}): {_why(error)}; the others are read")
    if errors and not history.measurements:
        raise errors[0]
    return history


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


def _machines(machine: SessionMachine) -> dict[tuple[str | None, str], SessionMachine]:
    return {(machine.board, machine.session): machine}


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


def _set_aside(path: Path, folder: Path, error: Exception) -> str:
    why = _why(error)
    # Nothing is wrong with the file itself, or it is not ours to move.
    if isinstance(error, (OSError, NewerSchema)) or not _is_ours(path):
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
    chosen: dict[tuple, Measurement] = {}
    for m in sorted(measurements, key=lambda m: m.measured_at):
        key = (m.configuration, m.board, m.weights)
        held = chosen.get(key)
        if held is None or m.protocol != held.protocol or _weight(m) >= _weight(held):
            chosen[key] = m
    return list(chosen.values())


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


def _weight(measurement: Measurement) -> int:
    unread = measurement.status == Status.UNSUPPORTED and measurement.smoke  # that session's own prompts ruled it out
    if measurement.status in (Status.NOT_HERE, Status.NEEDS_WEIGHTS) or unread:
        return 0
    return 1 if measurement.extrapolated else 2 if measurement.smoke else 3


def write_atomically(path: Path, text: str) -> None:
    """Write, fsync, rename, fsync the folder: the file is there whole or not at all, after a power cut too.
    HistoryError says what to do about a full disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    changed = [path.parent, *(parent.parent for parent in path.parents if not parent.exists())]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for folder in changed:
            _sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        advice = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EROFS: "the file system is read-only: choose another folder",
            errno.EACCES: "no permission to write there: choose another folder",
        }.get(error.errno, error.strerror or str(error))
        raise HistoryError(f"cannot write {path}: {advice}") from error


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder last. Some file systems cannot, and need no telling."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to and not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Journal:
    """One session's finished measurements, a file each, below `<board folder>/journal/<session>/`."""

    folder: Path

    @property
    def session(self) -> str:
        return self.folder.name

    def begin(self) -> None:
        """Prove that the folder can be written before anything is measured."""
        write_atomically(self.folder / BEGUN, f"{self.session}\n")

    def write(self, slug: str, measurement: Measurement) -> None:
        write_atomically(self.folder / f"{slug}.json", measurement.model_dump_json(indent=1))

    def write_machine(self, machine: SessionMachine) -> None:
        content = {MACHINE: machine.model_dump(mode="json")}
        write_atomically(self.folder / MACHINE_FILE, json.dumps(content, indent=1))

    def read(self) -> History:
        return read_folder(self.folder) if self.folder.is_dir() else History()

    @property
    def closed(self) -> bool:
        return (self.folder / CLOSED).exists()

    def close(self) -> None:
        if self.folder.is_dir():
            write_atomically(self.folder / CLOSED, "")


def open_journals(board_folder: Path) -> list[Journal]:
    """Journals of sessions that never came to their end, oldest first."""
    folders = sorted(p for p in (board_folder / "journal").glob("*") if p.is_dir())
    return [journal for journal in map(Journal, folders) if not journal.closed]
