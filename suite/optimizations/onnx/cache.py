"""Graphs and engines that take long to make, kept by all that decides what they are. Without torch.

An entry is a folder with a manifest: its key in words, and the sha256 of each of its files. What is not exactly that
(cut off, altered, of another key, left by a process that died) is removed with a warning and made again, never loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from suite.models.checkpoints.embedded import sha256_of
from suite.models.checkpoints.official import cache_folder
from suite.models.checkpoints.on_disk import locked, write_whole

MANIFEST = "manifest.json"
Key = Mapping[str, object]
"""By name, whatever JSON can say: everything that the entry depends on."""


def engines_folder() -> Path:
    """`engines` in the folder of weights: $TEXT3D_WEIGHTS, else the user's cache."""
    return cache_folder() / "engines"


def cached_entry(name: str, key: Key, make: Callable[[Path], None]) -> Path:
    """The entry's folder. `make(folder)` fills an empty one, which gets its name only when it is whole."""
    with _entry(name, key) as target:
        if not target.exists():
            passing = target.with_name(f".{target.name}.{os.getpid()}")
            passing.mkdir()
            try:
                make(passing)
                _seal(passing, key)
                os.replace(passing, target)
            finally:
                shutil.rmtree(passing, ignore_errors=True)
    return target


@contextmanager
def filled_in_place(name: str, key: Key) -> Iterator[Path]:
    """The entry's folder, for a library that reads and writes its own files there, and sealed behind it.

    A file that this library wrote until it failed has no manifest yet, so the next call removes it.
    """
    with _entry(name, key) as target:
        target.mkdir(exist_ok=True)
        before = _files(target)
        (target / MANIFEST).unlink(missing_ok=True)
        yield target
        if _files(target) or before:
            _seal(target, key)


@contextmanager
def _entry(name: str, key: Key) -> Iterator[Path]:
    """The path of an entry, which either does not exist or is whole; other processes wait."""
    folder = engines_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{digest_of(key)[:16]}"
    with locked(folder / f"{target.name}.lock"):
        with contextlib.suppress(OSError):
            target.rmdir()  # empty: what was to fill it never began
        if (target.exists() or target.is_symlink()) and (reason := fault(target, key)):
            warnings.warn(f"{reason}; it is removed and made again", stacklevel=3)
            _remove(target)
        for left in folder.glob(f".{target.name}.*"):  # by a process that died: whoever fills an entry holds its lock
            _remove(left)
        yield target


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def digest_of(key: Key) -> str:
    return hashlib.sha256(_words(key)).hexdigest()


def fault(folder: Path, key: Key) -> str | None:
    """What is wrong with an entry, its file named; None where it is whole."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        known, hashes = manifest["key"], dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{path}: the manifest cannot be read ({type(error).__name__}: {error})"
    if _words(known) != _words(key):
        return f"{path}: this is the entry of something else"
    if found := set(_files(folder)) ^ set(hashes):
        return f"{folder / min(found)}: a file too many or too few"
    for name, expected in sorted(hashes.items()):
        if sha256_of(folder / name) != expected:
            return f"{folder / name}: its sha256 is not the one in {MANIFEST}; the file is altered or truncated"
    return None


def _seal(folder: Path, key: Key) -> None:
    hashes = {name: sha256_of(folder / name) for name in _files(folder)}
    for name in hashes:
        with open(folder / name, "rb") as file:
            os.fsync(file.fileno())
    write_whole(folder / MANIFEST, json.dumps({"key": key, "sha256": hashes}, indent=1, sort_keys=True).encode())


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in paths if path != folder / MANIFEST)


def _words(key: Key) -> bytes:
    return json.dumps(key, sort_keys=True).encode()
