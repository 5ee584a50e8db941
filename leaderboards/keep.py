"""A session's pytest-benchmark file, checked and copied into the committed history."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from suite.history import CELLS, COMMITTED, NewerSchema, Unparsable, measurement_of, parse
from suite.records import Measurement, first_error
from suite.saving import write_atomically


class NotKept(ValueError):
    """Names the file, what is wrong with it and what to do."""


def keep(path: Path, history: Path = COMMITTED, allow_smoke: bool = False) -> Path:
    """Copy a session's file to `<history>/<board>/`, byte for byte; where it went. Nothing is ever overwritten."""
    text = read_session_text(path)
    cells = read_cells(path, text)
    if not allow_smoke and (smoke := [cell.configuration for cell in cells if cell.smoke]):
        raise NotKept(
            f"{path}: a smoke run ({len(smoke)} of {len(cells)} cells, {smoke[0]} first); "
            "measure in full, or give --smoke to keep it all the same"
        )
    folder = history / board_of(path, cells)
    for held in sorted(folder.glob("*.json")):
        if held.read_text(encoding="utf-8", errors="replace") == text:
            return held
    target = folder / path.name
    if target.exists():  # pytest-benchmark counts from 0001 again in a fresh storage
        target = folder / f"{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    write_atomically(target, text)
    return target


def read_session_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NotKept(f"{path}: not a text file") from None
    except OSError as error:
        raise NotKept(f"{path}: cannot be read: {error.strerror or error}") from None


def read_cells(path: Path, text: str) -> list[Measurement]:
    try:
        data = parse(text)
    except Unparsable as error:
        raise NotKept(f"{path}: {error}") from None
    if isinstance(data, dict) and "configuration" in data:
        raise NotKept(
            f"{path}: one journalled measurement, not a session's file; give the file saved by --benchmark-save"
        )
    if not isinstance(data, dict) or "benchmarks" not in data:
        raise NotKept(f"{path}: not a session's file: no `benchmarks`; give a file written by pytest --benchmark-save")
    if not data.get(CELLS):
        raise NotKept(
            f"{path}: no `{CELLS}`: pytest-benchmark wrote it, "
            "but not in a session of this suite that measured anything"
        )
    if not isinstance(data[CELLS], list):
        raise NotKept(f"{path}: `{CELLS}` is not a list")
    measurements = []
    for number, cell in enumerate(data[CELLS]):
        try:
            measurements.append(measurement_of(cell))
        except ValidationError as error:
            raise NotKept(f"{path}: {CELLS}[{number}].{first_error(error)}") from None
        except NewerSchema as error:
            raise NotKept(f"{path}: {CELLS}[{number}]: {error}") from None
    return measurements


def board_of(path: Path, cells: list[Measurement]) -> str:
    """The board that most cells were measured on: only a folder's name, every cell keeps its own."""
    boards = Counter(cell.board for cell in cells if cell.board)
    if not boards:
        raise NotKept(f"{path}: no cell names its board")
    return min(boards, key=lambda name: (-boards[name], name))
