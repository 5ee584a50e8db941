"""Objects to look at: those that runs kept, and those that were made for a recipe by name. Found by hash, copied into
the committed store.

An object does not hang on the machine (its noise comes from a hash), so one that was made for a recipe later is shown
beside the outcomes of its runs, where the weights are the same bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError

from suite.fields import FileName, RecipeName, Sha256, ShortText
from suite.history import COMMITTED, HistoryError
from suite.objects import FOLDER, Absent, Altered, place, put, read
from suite.records import KeptObject, Measurement, Record, first_error

MOST_BYTES = 15_000_000  # of the committed store: it comes with every clone
STORE = COMMITTED.parent / FOLDER
MADE = "made.json"


class Made(Record):
    """Objects that were made for a recipe by name: `benchmarks/objects.py`."""

    model: FileName
    optimization: RecipeName
    weights: ShortText
    weights_sha256: Sha256
    output: ShortText
    how: ShortText  # the command
    objects: list[KeptObject] = Field(max_length=16)

    @property
    def recipe(self) -> str:
        return f"{self.model}/{self.optimization}"


def made(store: Path = STORE) -> tuple[list[Made], list[str]]:
    """What stands in a store's `made.json`, and a line for what cannot be read."""
    path = store / MADE
    if not path.exists():
        return [], []
    found, problems = [], []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise ValueError("not a list")
    except (OSError, ValueError, RecursionError) as error:
        return [], [f"{path}: cannot be read: {error}"]
    for number, entry in enumerate(entries):
        try:
            found.append(Made.model_validate(entry))
        except ValidationError as error:
            problems.append(f"{path}: [{number}].{first_error(error)}")
    return found, problems


def made_beside(folders: Iterable[Path]) -> tuple[list[Made], list[str]]:
    """The same, of the stores beside folders of runs."""
    told = [made(store) for store in stores_of(folders)]
    return [entry for entries, _ in told for entry in entries], [line for _, lines in told for line in lines]


def stores_of(folders: Iterable[Path], m: Measurement | None = None) -> list[Path]:
    """Where objects may lie: beside these folders of runs, and in the session of a measurement below them."""
    folders = list(folders)
    beside = [folder.parent / FOLDER for folder in folders]
    if m is None or m.board is None:
        return beside
    return beside + [folder / m.board / "artefacts" / m.session / FOLDER for folder in folders]


@dataclass
class Copied:
    files: int = 0  # that are now in the store, those of before among them
    size_bytes: int = 0  # of those that were written
    left_out: list[str] = field(default_factory=list)  # a line a cell and kind of reason, with its first one


def keep_objects(session_file: Path, cells: Sequence[Measurement], store: Path, most_bytes: int = MOST_BYTES) -> Copied:
    """Copy what the cells of a session kept into a store, each file once. A file that is absent, altered or over the
    store's bound is left out with the reason; those before it stay."""
    copied = Copied()
    left_out: dict[tuple[str, type], list[Exception]] = defaultdict(list)
    taken = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    named = {(sha256, ending): cell for cell in cells for one in cell.objects for ending, sha256 in one.files.items()}
    for (sha256, ending), cell in named.items():
        if place(store, sha256, ending).exists():
            copied.files += 1
            continue
        try:
            own = session_file.parent / "artefacts" / cell.session / FOLDER
            content = read([own, *stores_of([session_file.parent.parent])], sha256, ending)
            if taken + len(content) > most_bytes:
                raise HistoryError(f"{store} holds {taken:,} of at most {most_bytes:,} bytes: no room for {sha256}")
            put(store, content, ending)
        except (Absent, Altered, HistoryError) as error:
            left_out[cell.configuration, type(error)].append(error)
            continue
        copied.files += 1
        copied.size_bytes += len(content)
        taken += len(content)
    copied.left_out = [_said(configuration, errors) for (configuration, _), errors in left_out.items()]
    return copied


def _said(configuration: str, errors: Sequence[Exception]) -> str:
    count = f"{len(errors)} files, the first: " if len(errors) > 1 else ""
    return f"{configuration}: {count}{errors[0]}"
