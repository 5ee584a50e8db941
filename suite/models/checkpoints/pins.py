"""The hashes that files are known by: published, or pinned to the first file that proved to be what it should be.

Pins lie in `sha256.json` beside the files. Without torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.foreign import why_foreign
from suite.models.checkpoints.on_disk import locked, write_whole

PINS = "sha256.json"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    name: str  # in the cache
    url: str
    sha256: str | None = None  # None: not published
    bytes: int | None = None
    source: str  # who published it, and where its hash comes from


def expected_sha256(file: RemoteFile, *folders: Path) -> str | None:
    """The published hash, or the one pinned in the first of the folders that has one."""
    return file.sha256 or next((pin for folder in folders if (pin := read_pins(folder).get(file.name))), None)


def read_pins(folder: Path) -> dict[str, str]:
    path = folder / PINS
    try:
        pins = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: the list of pinned hashes cannot be read ({error})") from None
    if not isinstance(pins, dict) or not all(isinstance(value, str) for value in pins.values()):
        raise WeightsError(f"{path}: expected an object of hashes by file name")
    return pins


def pin(file: RemoteFile, sha256: str, folder: Path) -> None:
    """Keep the hash of a file that has none published."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{PINS}.lock"):
        _write(read_pins(folder) | {file.name: sha256}, folder)


def unpin(name: str, folder: Path) -> str | None:
    """Forget the hash of a file, so that the next sound one is pinned; what it was."""
    if name not in read_pins(folder):
        return None
    with locked(folder / f"{PINS}.lock"):
        pins = read_pins(folder)
        found = pins.pop(name, None)
        _write(pins, folder)
    return found


def _write(pins: dict[str, str], folder: Path) -> None:
    write_whole(folder / PINS, json.dumps(pins, indent=1, sort_keys=True).encode() + b"\n")


def how_to_unpin(file: RemoteFile, folder: Path, own: bool) -> str:
    """What to do where the pinned hash is the wrong one; empty where it is published. own: whether the folder is this
    machine's; any other was brought along and is only read."""
    if file.sha256:
        return ""
    how = f"`python -m suite.weights unpin {file.name}`" if own else f"delete its line in {folder / PINS}"
    return f"if it is the right one, and the one that was pinned was not: {how}"


def check_sha256(path: Path, expected: str, found: str, where: str, *remedies: str) -> None:
    if found != expected:
        words = f"{path}: sha256 is {found}, expected {expected} ({where}); the file is altered or truncated"
        if reason := why_foreign(path, _kind(path), plain_text=True):
            words += f": it {reason}"
        raise WeightsError("; ".join([words, *filter(None, remedies)]))


def _kind(path: Path) -> str:
    weights = any(ending in path.suffixes for ending in (".pt", ".safetensors"))
    return "weights" if weights else "what it should be"
