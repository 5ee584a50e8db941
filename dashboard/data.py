"""The rows that the pages show: where they are read, told apart by device and board, named by a hash."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from leaderboards.frontier import comparable
from leaderboards.rows import PUBLISHED, literature_rows, load_published
from suite.catalogue.devices import DEVICES
from suite.records import Measurement, PublishedRow, Status

ROOT = Path(__file__).parents[1]
VARIABLE = "TEXT3D_PUBLISHED"  # another folder of published tables than the committed one, for trials
UNIDENTIFIED = "unidentified board"


def published_folder() -> Path:
    return Path(os.environ.get(VARIABLE) or PUBLISHED)


def load(folder: Path) -> list[PublishedRow]:
    """The folder's rows, and the literature's where the folder does not repeat them."""
    rows = load_published(folder)
    repeated = {row.configuration for row in literature(rows)}
    return rows + [row for row in literature_rows() if row.configuration not in repeated]


def digest(rows: Iterable[PublishedRow]) -> str:
    """Twelve hex digits that name exactly these rows, in any order. Fields that hold what they hold where nobody says
    otherwise are left out: a field that comes to the records later changes no hash of before it."""
    lines = sorted(row.model_dump_json(exclude_defaults=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def devices(rows: Sequence[PublishedRow]) -> list[str]:
    """Every device of the catalogue, then those that only published figures name."""
    return list(dict.fromkeys([*DEVICES, *sorted({row.device for row in rows})]))


def first_device(rows: Sequence[PublishedRow]) -> str:
    """The device to open on: that of the board which comes first of all by the rule of `boards`."""
    first = {device: max(found.values()) for device in devices(rows) if (found := _order(rows, device))}
    return max(first, key=lambda device: first[device], default=next(iter(DEVICES)))


def measured(rows: Iterable[PublishedRow], device: str) -> list[PublishedRow]:
    return [row for row in rows if row.source == "measured" and row.device == device]


def literature(rows: Iterable[PublishedRow], device: str | None = None) -> list[PublishedRow]:
    """Published rows: shown beside the measured ones, never ranked with them."""
    return [row for row in rows if row.source == "published" and device in (None, row.device)]


def boards(rows: Iterable[PublishedRow], device: str) -> list[str]:
    """The device's boards, the one with the most ranked rows first; of several the one that measured last. So the page
    opens on what is known best, and a short trial on another board does not take its place."""
    order = _order(rows, device)
    return sorted(order, key=lambda board: (order[board], board), reverse=True)


def _order(rows: Iterable[PublishedRow], device: str) -> dict[str, tuple[int, str]]:
    """Ranked rows and the newest time of each of the device's boards."""
    order: dict[str, tuple[int, str]] = {}
    for row in measured(rows, device):
        board = row.board or UNIDENTIFIED
        ranked, newest = order.get(board, (0, ""))
        order[board] = (ranked + (row.on_frontier is not None), max(newest, row.measured_at or ""))
    return order


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
    return [row for row in measured(rows, device) if (row.board or UNIDENTIFIED) == board]


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


def has_point(row: PublishedRow) -> bool:
    return row.latency_s is not None and row.r_precision is not None


def why_no_point(row: PublishedRow) -> str:
    """In a word or two, for a row without a quality."""
    return row.status.value if row.status != Status.OK else "not scored"
