"""The rows that the pages show: where they are read, told apart by device and board, named by a hash."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from leaderboards.frontier import comparable
from leaderboards.rows import PUBLISHED, literature_rows, read_published
from suite.catalogue.devices import DEVICES
from suite.records import Measurement, PublishedRow, Status

ROOT = Path(__file__).parents[1]
VARIABLE = "TEXT3D_PUBLISHED"  # another folder of published tables than the committed one, for trials
UNIDENTIFIED = "unidentified board"
MOST_SHOWN = 1000  # rows of one table, one figure and one list of choices: more is nothing to look at


def published_folder() -> Path:
    return Path(os.environ.get(VARIABLE) or PUBLISHED)


class Rows(list[PublishedRow]):
    """Rows, told apart by device and board once, however often they are asked for. newer: names of the tables among
    theirs that a later version of the suite wrote."""

    newer: Sequence[str] = ()

    @cached_property
    def measured(self) -> dict[str, dict[str, list[PublishedRow]]]:
        """By device and board."""
        found: dict[str, dict[str, list[PublishedRow]]] = {}
        for row in self:
            if row.source == "measured":
                found.setdefault(row.device, {}).setdefault(row.board or UNIDENTIFIED, []).append(row)
        return found

    @cached_property
    def order(self) -> dict[str, dict[str, tuple[int, str]]]:
        """Ranked rows and the newest time of each device's boards."""
        return {
            device: {
                board: (sum(r.on_frontier is not None for r in rows), max(r.measured_at or "" for r in rows))
                for board, rows in boards.items()
            }
            for device, boards in self.measured.items()
        }

    @cached_property
    def devices(self) -> list[str]:
        return sorted({row.device for row in self})

    @cached_property
    def literature(self) -> list[PublishedRow]:
        return [row for row in self if row.source == "published"]

    @cached_property
    def digest(self) -> str:
        return digest(self)


def _told_apart(rows: Iterable[PublishedRow]) -> Rows:
    return rows if isinstance(rows, Rows) else Rows(rows)


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes with any table of a folder."""
    facts = [(path, path.stat()) for path in sorted(folder.glob("*.json"))]
    return tuple((str(path), its.st_size, its.st_mtime_ns) for path, its in facts)


def load(folder: Path) -> Rows:
    """The folder's rows, and the literature's where the folder does not repeat them."""
    published = read_published(folder)
    repeated = {row.configuration for row in literature(published.rows)}
    rows = Rows([*published.rows, *(row for row in literature_rows() if row.configuration not in repeated)])
    rows.newer = published.newer
    return rows


def digest(rows: Iterable[PublishedRow]) -> str:
    """Twelve hex digits that name exactly these rows, in any order. Fields that hold what they hold where nobody says
    otherwise are left out: a field that comes to the records later changes no hash of before it."""
    lines = sorted(row.model_dump_json(exclude_defaults=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def devices(rows: Sequence[PublishedRow]) -> list[str]:
    """Every device of the catalogue, then those that only published figures name."""
    return list(dict.fromkeys([*DEVICES, *_told_apart(rows).devices]))


def first_device(rows: Sequence[PublishedRow]) -> str:
    """The device to open on: that of the board which comes first of all by the rule of `boards`."""
    rows = _told_apart(rows)
    first = {device: max(found.values()) for device in devices(rows) if (found := rows.order.get(device))}
    return max(first, key=lambda device: first[device], default=next(iter(DEVICES)))


def measured(rows: Iterable[PublishedRow], device: str) -> list[PublishedRow]:
    return [row for its in _told_apart(rows).measured.get(device, {}).values() for row in its]


def literature(rows: Iterable[PublishedRow], device: str | None = None) -> list[PublishedRow]:
    """Published rows: shown beside the measured ones, never ranked with them."""
    return [row for row in _told_apart(rows).literature if device in (None, row.device)]


def boards(rows: Iterable[PublishedRow], device: str) -> list[str]:
    """The device's boards, the one with the most ranked rows first; of several the one that measured last. So the page
    opens on what is known best, and a short trial on another board does not take its place."""
    order = _told_apart(rows).order.get(device, {})
    return sorted(order, key=lambda board: (order[board], board), reverse=True)


def boards_measured(rows: Iterable[PublishedRow], measurements: Iterable[Measurement], device: str) -> list[str]:
    """The boards of a history in the same order; those without published rows last, the newest of them first."""
    newest: dict[str, str] = {}
    for m in measurements:
        if m.device == device:
            board = m.board or UNIDENTIFIED
            newest[board] = max(newest.get(board, ""), m.measured_at)
    ordered = [board for board in boards(rows, device) if board in newest]
    others = sorted(newest.keys() - set(ordered), key=lambda board: (newest[board], board), reverse=True)
    return ordered + others


def of_board(rows: Iterable[PublishedRow], device: str, board: str) -> list[PublishedRow]:
    """A board's measured rows, of every prompt set: for what no judge has a part in."""
    return list(_told_apart(rows).measured.get(device, {}).get(board, []))


def comparisons(rows: Iterable[PublishedRow], device: str, board: str) -> dict[str, list[PublishedRow]]:
    """A board's measured rows by prompt set, the largest first. Neither boards nor prompt sets mix on a frontier."""
    groups = comparable(of_board(rows, device, board))
    by_prompts = {prompts: group for (_, _, prompts), group in groups.items()}
    return dict(sorted(by_prompts.items(), key=lambda item: -len(item[1])))


def identity(row: PublishedRow | Measurement) -> str:
    """What names a row on its board: the id, and the weights, which are no part of the id."""
    return row.configuration if row.weights is None else f"{row.configuration}, {row.weights} weights"


def kind_of_weights(m: Measurement) -> str:
    return m.weights or "none"


def kinds_of_weights(measurements: Iterable[Measurement]) -> list[str]:
    """The kinds that a board was measured with, the one with the most measurements first."""
    counts = Counter(kind_of_weights(m) for m in measurements)
    return sorted(counts, key=lambda kind: (-counts[kind], kind))


def place(row: PublishedRow) -> str:
    return {True: "frontier", False: "dominated", None: "not ranked"}[row.on_frontier]


def has_point(row: PublishedRow, axis: str) -> bool:
    """Whether the frontier's figure has it. axis: what quality means there."""
    return row.latency_s is not None and getattr(row, axis) is not None


def why_no_point(row: PublishedRow) -> str:
    """In a word or two, for a row without a quality."""
    return row.status.value if row.status != Status.OK else "not scored"
