"""The published tables, written from the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leaderboards import reproduction, tables
from leaderboards.frontier import Key
from leaderboards.places import with_places
from leaderboards.rows import PUBLISHED, literature_rows, measured_rows, qualities, shown
from suite.catalogue.devices import DEVICES
from suite.collecting import paused
from suite.configurations import unknown
from suite.history import COMMITTED, LOCAL, History
from suite.index.reading import read_indexed
from suite.records import Fingerprint, Measurement, PublishedRow, Quality
from suite.saving import write_atomically


@dataclass(frozen=True)
class Board:
    """Everything a leaderboard shows, read once."""

    rows: dict[str, list[PublishedRow]]  # by device, in the catalogue's order
    fingerprints: dict[str, Fingerprint]  # of its rows, by id
    qualities: dict[Key, Quality]
    problems: list[str]  # one line a history file that could not be read
    measurements: list[Measurement] = field(default_factory=list)  # all that were read
    folders: list[Path] = field(default_factory=list)  # where they were read

    def device(self, name: str) -> list[PublishedRow]:
        """A device's rows; an unknown name is answered with the nearest known ones."""
        if name not in self.rows and name not in DEVICES:
            raise unknown("device", name, {*self.rows, *DEVICES})
        return self.rows.get(name, [])


def folders(history: Path | None = None, include_local: bool = False) -> list[Path]:
    """Where measurements are read from. A folder that was asked for must exist; the default ones may not yet."""
    if history is not None and not history.is_dir():
        raise FileNotFoundError(f"no history folder {history}")
    return [history or COMMITTED, *([LOCAL] if include_local else [])]


@paused()
def read_board(history_folders: Sequence[Path]) -> Board:
    """The rows of all devices, measured and published, from history folders. Unreadable files are set aside."""
    history = History()
    for folder in history_folders:
        if folder.is_dir():
            history.extend(read_indexed(folder))
    newest = shown(history.measurements)
    rows = [*with_places(measured_rows(history.measurements, newest), newest), *literature_rows()]
    order = [*DEVICES, *sorted({row.device for row in rows} - set(DEVICES))]
    return Board(
        rows={name: found for name in order if (found := [row for row in rows if row.device == name])},
        fingerprints={m.fingerprint.id: m.fingerprint for m in newest if m.fingerprint is not None},
        qualities=qualities(newest),
        problems=history.problems,
        measurements=history.measurements,
        folders=list(history_folders),
    )


def publish(board: Board, output: Path = PUBLISHED) -> list[Path]:
    """Write `<device>.md`, `.csv` and `.json` and the index; the files written. Each is there whole or not at all."""
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"cannot write tables to {output}: it is a file; give a folder with --output")
    texts = {"README.md": tables.index(board.rows), "reproduction.md": reproduction.to_markdown(board.rows)}
    for device, rows in board.rows.items():
        texts[f"{device}.md"] = tables.to_markdown(device, rows, board.fingerprints)
        texts[f"{device}.csv"] = tables.to_csv(rows)
        texts[f"{device}.json"] = tables.to_json(rows)
    for name, text in texts.items():
        write_atomically(output / name, text)
    _remove_outdated(output, texts)
    return [output / name for name in texts]


def _remove_outdated(output: Path, written: dict[str, str]) -> None:
    """Tables of devices that have no rows any more; only files that `publish` itself wrote before."""
    for page in output.glob("*.md"):
        if page.name not in written and page.read_text(encoding="utf-8", errors="replace").startswith(tables.GENERATED):
            for ending in (".md", ".csv", ".json"):
                page.with_suffix(ending).unlink(missing_ok=True)
