"""A session's memory: the run lock of a board, the journal, and what earlier sessions left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from suite.configurations import Configuration
from suite.history import HistoryError, Journal, open_journals
from suite.records import PROTOCOL, Fingerprint, Measurement, Status


class BoardBusy(RuntimeError):
    """Another run measures on this board."""


class RunLock:
    """One run a board at a time, across users and checkouts; the kernel frees it when the process ends, however."""

    def __init__(self, board: str):
        self.path = Path(tempfile.gettempdir()) / f"text3d-bench-{board}.lock"
        self._handle: int | None = None
        self._writable = False

    def acquire(self, patience_s: float, waiting: Callable[[str], None]) -> None:
        """Wait for the board. BoardBusy after `patience_s`; HistoryError where there can be no lock file."""
        try:
            self._handle, self._writable = self._open()
            self._lock(patience_s, waiting)
            self._sign(f"process {os.getpid()}")
        except OSError as error:
            self.release()
            raise HistoryError(f"cannot use the run lock {self.path}: {error.strerror or error}") from error

    def _open(self) -> tuple[int, bool]:
        """The lock file, made when it is absent, and whether it can be written.

        It lies in a folder for everyone, where the kernel may refuse O_CREAT on another user's file
        (fs.protected_regular); to lock it, reading is enough.
        """
        for _ in range(10):  # it may come or go between two steps
            for flags in (os.O_RDWR, os.O_RDONLY):
                try:
                    return os.open(self.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC), flags == os.O_RDWR
                except OSError as error:
                    refused = error
            if not isinstance(refused, FileNotFoundError):
                raise refused
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                os.fchmod(handle, 0o666)  # whatever the umask says: the next user writes its own name
                return handle, True
            except FileExistsError:
                continue
        raise refused

    def _lock(self, patience_s: float, waiting: Callable[[str], None]) -> None:
        deadline, told = time.monotonic() + patience_s, False
        while True:
            try:
                return fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._handle, 100, 0).decode(errors="replace").strip() or "another process"
                if time.monotonic() >= deadline:
                    os.close(self._handle)
                    self._handle = None
                    raise BoardBusy(
                        f"{holder} is measuring on this board; two runs would disturb each other. "
                        f"Waited {patience_s:.0f} s (--lock-patience)"
                    ) from None
                if not told:
                    waiting(f"{holder} is measuring on this board; waiting up to {patience_s:.0f} s")
                    told = True
                time.sleep(0.5)

    def _sign(self, name: str) -> None:
        """Leave a name for those who wait; only a courtesy, the lock holds without it."""
        if self._writable:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, name.encode(), 0)

    def release(self) -> None:
        if self._handle is not None:
            self._sign("")  # whoever comes next may not be able to write its own
            os.close(self._handle)
            self._handle = None


@dataclass
class Recorder:
    """Keeps each measurement of a session, in memory and in the journal."""

    journal: Journal
    measurements: dict[str, Measurement] = field(default_factory=dict)  # by configuration id
    unsaved: dict[str, Measurement] = field(default_factory=dict)  # by slug: the disk was full, say
    trouble: str | None = None

    @property
    def session(self) -> str:
        return self.journal.session

    def keep(self, configuration: Configuration, measurement: Measurement) -> None:
        """Journal at once; what cannot be written now is tried again with the next one and at the end."""
        self.measurements[configuration.id] = measurement
        self.unsaved[configuration.slug] = measurement
        self.flush()

    def flush(self) -> None:
        for slug in list(self.unsaved):
            try:
                self.journal.write(slug, self.unsaved[slug])
            except HistoryError as error:
                self.trouble = str(error)
                return
            del self.unsaved[slug]
        self.trouble = None


def begin(board_folder: Path, session: str, resume: bool) -> tuple[Recorder, list[Journal], list[str]]:
    """A recorder for this session, the journals of crashed sessions to recover, and what could not be read.

    With `resume` the last unfinished session goes on: its name, its journal, what it has measured.
    HistoryError when the folder cannot be written, before anything is measured.
    """
    crashed = open_journals(board_folder)
    problems: list[str] = []
    if resume and crashed:
        recorder = Recorder(crashed.pop())
        history = recorder.journal.read()
        problems = history.problems
        recorder.measurements = {m.configuration: m for m in history.measurements}
    else:
        recorder = Recorder(Journal(board_folder / "journal" / session))
    recorder.journal.begin()
    return recorder, crashed, problems


@dataclass(frozen=True)
class Wanted:
    """What this session would measure in the place of a resumed measurement."""

    weights: str | None
    prompts: int | None = None  # None: only its latency is wanted, as a reference
    smoke: bool = False
    extrapolated: bool = False
    borrows: bool = False  # committed outcomes may stand for prompts that were not scored
    fingerprint: Fingerprint | str | None = None  # a string: why it cannot be told; None: nothing would be started


def differences(held: Measurement, wanted: Wanted) -> list[str]:
    """Why a resumed measurement is not what this session would measure, in plain words; empty when it is."""
    found = []

    def compare(what: str, journal: object, session: object, has: str = "has") -> None:
        if journal != session:
            found.append(f"journal has {what} {journal or 'unknown'}, this session {has} {session or 'unknown'}")

    compare("protocol", held.protocol, PROTOCOL)
    compare("weights", held.weights, wanted.weights, "asks for")
    if held.status != Status.UNSUPPORTED and held.extrapolated != wanted.extrapolated:
        kinds = {True: "an extrapolated latency", False: "that of whole objects"}
        found.append(f"journal has {kinds[held.extrapolated]}, this session asks for {kinds[wanted.extrapolated]}")
    prompts = _prompts(held)
    if wanted.prompts is not None and prompts is not None and prompts != wanted.prompts:
        found.append(f"journal has {prompts} prompts, this session asks for {wanted.prompts}")
    elif wanted.prompts is not None and held.status != Status.UNSUPPORTED:
        borrowed = held.quality is not None and held.quality.borrowed is not None
        smoke = held.smoke and not (borrowed and wanted.borrows)
        if smoke != wanted.smoke:
            kinds = {True: "a smoke run", False: "a full run"}
            found.append(f"journal has {kinds[smoke]}, this session asks for {kinds[wanted.smoke]}")
    if isinstance(wanted.fingerprint, str):
        found.append(f"what this session would measure cannot be told ({wanted.fingerprint})")
    elif wanted.fingerprint is not None and held.fingerprint is None:
        found.append("journal does not say on what it was measured")
    elif wanted.fingerprint is not None:
        for name in Fingerprint.model_fields:
            journal, session = getattr(held.fingerprint, name), getattr(wanted.fingerprint, name)
            if name.endswith("_sha256"):
                journal, session = journal and journal[:12], session and session[:12]
            compare(name.replace("_", " "), journal, session)
    return found


def _prompts(measurement: Measurement) -> int | None:
    """How many prompts were scored; None where a failure came before."""
    if measurement.quality is not None:
        return len(measurement.quality.outcomes)
    return 0 if measurement.status == Status.OK else None
