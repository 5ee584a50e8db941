"""Where a figure comes from: session, file, fingerprint, commit, and the command that measures it again. Without
streamlit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dashboard.commits import WHOLE, told
from dashboard.data import ROOT
from leaderboards import cells
from leaderboards.frontier import key
from leaderboards.rows import repeat_command
from suite.history import HistoryError, read_session
from suite.records import Measurement, PublishedRow

NOT_AT_HAND = "not at hand: its session's file is neither committed nor on this machine"


@dataclass(frozen=True)
class Source:
    """What to say of one row or measurement; `file` is relative to the repository, or to the folder of runs."""

    session: str | None
    file: str | None
    fingerprint: str | None
    commit: str | None
    measured_at: str | None
    command: str

    def facts(self, missing: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
        return [
            ("session", self.session or cells.DASH),
            ("file", self.file or NOT_AT_HAND),
            ("fingerprint", self.fingerprint or cells.DASH),
            ("commit", told(self.commit, missing, WHOLE)),
            (
                "measured at",
                cells.DASH if self.measured_at is None else f"{self.measured_at[:19].replace('T', ' ')} UTC",
            ),
        ]


def of(what: PublishedRow | Measurement, folders: Iterable[Path]) -> Source:
    """Looks for the file below these folders."""
    folders = list(folders)
    path = find_file(what, folders)
    file = None if path is None else _shown(path, folders)
    return Source(what.session, file, _printed(what), what.commit, what.measured_at, repeat_command(what))


def _printed(what: PublishedRow | Measurement) -> str | None:
    if isinstance(what, PublishedRow):  # a measurement may be one of the index, which is no `Measurement`
        return what.fingerprint_id
    return None if what.fingerprint is None else what.fingerprint.id


def name(what: PublishedRow | Measurement) -> tuple:
    """What tells two of them apart."""
    return (*key(what), what.session, what.measured_at, what.commit)


def find_file(what: PublishedRow | Measurement, folders: Iterable[Path]) -> Path | None:
    """The file of runs that has this very measurement. A session's own file before its journal; files that lie in a
    folder of the board's name before all others."""
    paths = [path for folder in folders for path in folder.rglob("*.json")]
    for path in sorted(paths, key=lambda p: (str(what.board) not in p.parts, "journal" in p.parts, str(p))):
        if _has(path, what):
            return path
    return None


def _has(path: Path, what: PublishedRow | Measurement) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        # Much faster than reading every file as records.
        if what.configuration not in text or (what.session is not None and what.session not in text):
            return False
        return any(key(m) == key(what) and m.measured_at == what.measured_at for m in read_session(path).measurements)
    except (HistoryError, OSError, ValueError):
        return False


def _shown(path: Path, folders: Iterable[Path]) -> str:
    """No path of the machine that serves the page."""
    bases = [ROOT, *(folder.parent for folder in folders)]
    base = next((base for base in bases if path.resolve().is_relative_to(base.resolve())), path.parent)
    return str(path.resolve().relative_to(base.resolve()))
