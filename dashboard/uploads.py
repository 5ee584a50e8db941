"""Runs that somebody hands in: read by the history's own reader, kept in memory, and never taken for ours. Without
streamlit.

An uploaded board gets another name, `uploaded <board>`. So its rows are ranked among themselves, and whatever a file
says of itself, nothing of ours changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from dashboard.data import UNIDENTIFIED
from leaderboards.rows import measured_rows
from suite.history import History, HistoryError, read_session
from suite.names import shortened
from suite.records import Measurement, PublishedRow

LIMIT_MB = 20  # of one file; the largest committed one has 2.6
MOST_CELLS = 5000  # of all files of one browser session together
PREFIX = "uploaded "
LONGEST_NAME = 100  # of a board: suite.fields.FileName


@dataclass(frozen=True)
class InMemory:
    """A file as the history's reader sees one, which exists nowhere."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return shortened(self.name)

    def read_text(self, encoding: str) -> str:
        return self.content.decode(encoding)


@dataclass(frozen=True)
class Upload:
    """One file: its runs under the boards' new names, and a line for each thing that was not read."""

    name: str
    sha256: str
    history: History
    rows: tuple[PublishedRow, ...] = ()


def read(name: str, content: bytes, room: int = MOST_CELLS) -> Upload:
    """A file's runs. Whatever it holds, it raises nothing: what is refused is said in `history.problems`.

    room: so many cells may be added."""
    sha256 = hashlib.sha256(content).hexdigest()
    if len(content) > LIMIT_MB * 1_000_000:
        size = f"{len(content) / 1e6:,.1f} MB; at most {LIMIT_MB} MB are read"
        return Upload(name, sha256, History(problems=[f"{shortened(name)}: {size}"]))
    try:
        found = read_session(InMemory(name, content))
    except HistoryError as error:
        return Upload(name, sha256, History(problems=[str(error)]))
    if not found.measurements and not found.problems:
        found.problems.append(f"{shortened(name)}: no run in it; a history file has them under `cells`")
    if len(found.measurements) > room:
        said = f"{len(found.measurements):,} cells, where {room:,} more are taken of {MOST_CELLS:,}; not read"
        return Upload(name, sha256, History(problems=[f"{shortened(name)}: {said}"]))
    apart = _renamed(found)
    try:
        return Upload(name, sha256, apart, tuple(measured_rows(apart.measurements)))
    except Exception as error:  # noqa: BLE001 - each record is sound, but together they make no table: no page may fall
        said = f"no rows can be made of its cells: {type(error).__name__}: {shortened(str(error), 200)}"
        return Upload(name, sha256, History(problems=[f"{shortened(name)}: {' '.join(said.split())}"]))


def _renamed(found: History) -> History:
    measurements = [m.model_copy(update={"board": uploaded(m.board)}) for m in found.measurements]
    machines = {(uploaded(board), session): machine for (board, session), machine in found.machines.items()}
    return History(sorted(measurements, key=lambda m: m.measured_at), found.problems, machines)


def uploaded(board: str | None) -> str:
    return f"{PREFIX}{board or UNIDENTIFIED}"[:LONGEST_NAME].rstrip()


def is_uploaded(what: PublishedRow | Measurement) -> bool:
    return (what.board or "").startswith(PREFIX)


def together(history: History, uploads: Iterable[Upload]) -> History:
    """Ours and theirs, oldest first; neither is changed."""
    whole = History(list(history.measurements), list(history.problems), dict(history.machines))
    for upload in uploads:
        whole.measurements += upload.history.measurements
        whole.machines |= upload.history.machines
    whole.measurements.sort(key=lambda m: m.measured_at)
    return whole


def stamp(uploads: Iterable[Upload]) -> str:
    """Names exactly these files; empty where there are none."""
    text = "\n".join(sorted(upload.sha256 for upload in uploads))
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""
