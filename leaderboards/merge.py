"""Histories of several boards and checkouts, put together: idempotent, and the same bytes in any order.

A session's file is named by its session and its content, so that two that differ never take each other's place. Where
each came from stands in `origins.tsv` beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from leaderboards.keep import board_of, read_cells, read_session_text
from suite.history import QUARANTINE
from suite.records import Measurement
from suite.saving import write_atomically

ORIGINS = "origins.tsv"  # file, tab, where it came from: sorted


class Altered(ValueError):
    """Two files tell one measurement otherwise; names both."""


def merge(folders: Sequence[Path], into: Path) -> list[Path]:
    """Copy every session's file below the folders into `<into>/<board>/`; the paths there, sorted.

    NotKept names a file that is no session's, Altered two that contradict each other. Then nothing is written.
    """
    texts: dict[Path, str] = {}
    origins: dict[Path, set[str]] = {}
    told: dict[tuple, tuple[Measurement, Path]] = {}
    held: dict[str, Path] = {}  # where a text lies, or will
    for folder in [into, *folders]:
        for path in session_files(folder):
            text = read_session_text(path)
            cells = read_cells(path, text)
            _agree(told, cells, path)
            # What is there already keeps its name.
            target = held.setdefault(
                text, path if folder == into else into / board_of(path, cells) / _name(cells, text)
            )
            texts[target] = text
            origins.setdefault(target, set()).update([folder.resolve().name] if folder != into else [])
    for target, found in _recorded(into).items():
        origins.setdefault(target, set()).update(found)
    _write(into, texts, origins)
    return sorted(texts)


def _name(cells: Sequence[Measurement], text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{cells[0].session}-{digest}.json".replace(" ", "_")


def session_files(folder: Path) -> list[Path]:
    """Not journals, which sessions' files repeat, nor what was set aside."""
    found = sorted(folder.rglob("*.json"))
    return [path for path in found if not {"journal", "published", QUARANTINE} & set(path.relative_to(folder).parts)]


def _agree(told: dict[tuple, tuple[Measurement, Path]], cells: Sequence[Measurement], path: Path) -> None:
    for cell in cells:
        key = (cell.session, cell.board, cell.configuration, cell.measured_at)
        first, where = told.setdefault(key, (cell, path))
        if first != cell:
            raise Altered(
                f"{path}: {cell.configuration} of session {cell.session} is not as in {where}: one of them was "
                "altered; take that one away"
            )


def _recorded(into: Path) -> dict[Path, set[str]]:
    found: dict[Path, set[str]] = {}
    for path in into.glob(f"*/{ORIGINS}"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, origin = line.partition("\t")
            found.setdefault(path.parent / name, set()).add(origin)
    return found


def _write(into: Path, texts: dict[Path, str], origins: dict[Path, set[str]]) -> None:
    for target, text in texts.items():
        if not target.exists():
            write_atomically(target, text)
    for folder in sorted({target.parent for target in texts}):
        lines = [f"{t.name}\t{o}" for t in sorted(texts) if t.parent == folder for o in sorted(origins[t])]
        write_atomically(folder / ORIGINS, "".join(f"{line}\n" for line in lines))
