"""A session's memory: the run lock of a board, the journal, and what earlier sessions left behind."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from suite.configurations import Configuration
from suite.history import HistoryError, Journal, open_journals
from suite.records import Measurement


class BoardBusy(RuntimeError):
    """Another run measures on this board."""


class RunLock:
    """One run a board at a time, across users and checkouts; the kernel frees it when the process ends, however."""

    def __init__(self, board: str):
        self.path = Path(tempfile.gettempdir()) / f"text3d-bench-{board}.lock"
        self._file = None

    def acquire(self, patience_s: float, waiting: Callable[[str], None]) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._file = os.fdopen(handle, "r+")
        deadline, told = time.monotonic() + patience_s, False
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = self.path.read_text().strip() or "another process"
                if time.monotonic() >= deadline:
                    self._file.close()
                    raise BoardBusy(
                        f"{holder} is measuring on this board; two runs would disturb each other. "
                        f"Waited {patience_s:.0f} s (--lock-patience)"
                    ) from None
                if not told:
                    waiting(f"{holder} is measuring on this board; waiting up to {patience_s:.0f} s")
                    told = True
                time.sleep(0.5)
        self._file.truncate(0)
        self._file.seek(0)
        self._file.write(f"process {os.getpid()}")
        self._file.flush()

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


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
