"""Files that are there whole or not at all, and the journal of a session, which is made of them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

from suite.history import BEGUN, MACHINE, MACHINE_FILE, History, HistoryError, read_folder
from suite.machine import SessionMachine
from suite.records import Measurement

CLOSED = "closed"  # marks a journal whose session ended and saved


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write, fsync, rename, fsync the folder: the file is there whole or not at all, after a power cut too.
    HistoryError says what to do about a full disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    changed = [path.parent, *(parent.parent for parent in path.parents if not parent.exists())]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for folder in changed:
            _sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        advice = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EROFS: "the file system is read-only: choose another folder",
            errno.EACCES: "no permission to write there: choose another folder",
        }.get(error.errno, error.strerror or str(error))
        raise HistoryError(f"cannot write {path}: {advice}") from error


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder last. Some file systems cannot, and need no telling."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to and not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Journal:
    """One session's finished measurements, a file each, below `<board folder>/journal/<session>/`."""

    folder: Path

    @property
    def session(self) -> str:
        return self.folder.name

    def begin(self) -> None:
        """Prove that the folder can be written before anything is measured."""
        write_atomically(self.folder / BEGUN, f"{self.session}\n")

    def write(self, slug: str, measurement: Measurement) -> None:
        write_atomically(self.folder / f"{slug}.json", measurement.model_dump_json(indent=1))

    def write_machine(self, machine: SessionMachine) -> None:
        content = {MACHINE: machine.model_dump(mode="json")}
        write_atomically(self.folder / MACHINE_FILE, json.dumps(content, indent=1))

    def read(self) -> History:
        return read_folder(self.folder) if self.folder.is_dir() else History()

    @property
    def closed(self) -> bool:
        return (self.folder / CLOSED).exists()

    def close(self) -> None:
        if self.folder.is_dir():
            write_atomically(self.folder / CLOSED, "")


def open_journals(board_folder: Path) -> list[Journal]:
    """Journals of sessions that never came to their end, oldest first."""
    folders = sorted(p for p in (board_folder / "journal").glob("*") if p.is_dir())
    return [journal for journal in map(Journal, folders) if not journal.closed]
