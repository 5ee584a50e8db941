"""Objects that are kept to be looked at: a file each, named by the SHA-256 of its content.

So equal ones are there once, and an altered one is known. A session has a store below its artefacts; the committed one
is `leaderboards/objects`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from suite.records import Ending
from suite.saving import write_atomically

FOLDER = "objects"
OBJECTS = 4  # of a cell: the first of its prompt set
CELL_BYTES = 400_000  # of a cell's objects and their pictures


class Absent(ValueError):
    """A file that no store has."""


class Altered(ValueError):
    """A file whose content is not what its name says."""


def place(store: Path, sha256: str, ending: Ending) -> Path:
    return store / sha256[:2] / f"{sha256}.{ending}"


def put(store: Path, content: bytes, ending: Ending) -> str:
    """The content's SHA-256. HistoryError where it cannot be written; nothing is left of it then."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = place(store, sha256, ending)
    if not path.exists():
        write_atomically(path, content)
    return sha256


def read(stores: list[Path], sha256: str, ending: Ending) -> bytes:
    """From the first store that has it unaltered. Altered where one has it otherwise, Absent where none has it."""
    altered = None
    for path in (place(store, sha256, ending) for store in stores):
        try:
            with open(path, "rb") as file:
                content = file.read(CELL_BYTES + 1)  # no more is ever kept
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
        altered = path
    if altered is not None:
        raise Altered(f"{altered.name}: its content is not what its name says; delete it, or restore it with git")
    raise Absent(f"{sha256[:12]}….{ending} is not on this machine; it lies where it was measured")
