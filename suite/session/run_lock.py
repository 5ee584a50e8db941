"""One run a board at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from suite.history import HistoryError


class BoardBusy(RuntimeError):
    """Another run measures on this board."""


class RunLock:
    """One run a board at a time, across users, checkouts and TMPDIRs."""

    def __init__(self, board: str, board_folder: Path | None = None):
        # Of the machine, and beside the history: where /tmp is not the same for all, that still is.
        self.path = shared_folder() / f"text3d-bench-{board}.lock"
        beside = [] if board_folder is None else [FileLock(board_folder / "run.lock")]
        self._locks = [FileLock(self.path), *beside]

    def acquire(self, patience_s: float, waiting: Callable[[str], None]) -> None:
        """Wait for the board. BoardBusy after `patience_s`; HistoryError where there can be no lock file."""
        try:
            for lock in self._locks:
                _make(lock.path.parent)
                lock.acquire(patience_s, waiting)
        except (BoardBusy, HistoryError):
            self.release()
            raise

    def release(self) -> None:
        for lock in self._locks:
            lock.release()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HistoryError(f"cannot write {folder}: {error.strerror or error}") from error


def shared_folder() -> Path:
    """One for all users of the machine, whatever their TMPDIR."""
    return Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())


class FileLock:
    """The kernel frees it when the process ends, however."""

    def __init__(self, path: Path):
        self.path = path
        self._handle: int | None = None
        self._writable = False

    def acquire(self, patience_s: float, waiting: Callable[[str], None]) -> None:
        try:
            self._handle, self._writable = self._open()
            self._lock(patience_s, waiting)
            self._sign(f"process {os.getpid()}")
        except OSError as error:
            self.release()
            raise HistoryError(f"cannot use the run lock {self.path}: {error.strerror or error}") from error

    def _open(self) -> tuple[int, bool]:
        """The lock file, made when it is absent, and whether it can be written.

        It lies in a folder for everyone, where the kernel may refuse O_CREAT on another user's file
        (fs.protected_regular); to lock it, reading is enough.
        """
        for _ in range(10):  # it may come or go between two steps
            for flags in (os.O_RDWR, os.O_RDONLY):
                try:
                    return os.open(self.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC), flags == os.O_RDWR
                except OSError as error:
                    refused = error
            if not isinstance(refused, FileNotFoundError):
                raise refused
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                os.fchmod(handle, 0o666)  # whatever the umask says: the next user writes its own name
                return handle, True
            except FileExistsError:
                continue
        raise refused

    def _lock(self, patience_s: float, waiting: Callable[[str], None]) -> None:
        deadline, told = time.monotonic() + patience_s, False
        while True:
            try:
                return fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._handle, 100, 0).decode(errors="replace").strip() or "another process"
                if time.monotonic() >= deadline:
                    os.close(self._handle)
                    self._handle = None
                    raise BoardBusy(
                        f"{holder} is measuring on this board; two runs would disturb each other. "
                        f"Waited {patience_s:.0f} s (--lock-patience)"
                    ) from None
                if not told:
                    waiting(f"{holder} is measuring on this board; waiting up to {patience_s:.0f} s")
                    told = True
                time.sleep(0.5)

    def _sign(self, name: str) -> None:
        """Leave a name for those who wait; only a courtesy, the lock holds without it."""
        if self._writable:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, name.encode(), 0)

    def release(self) -> None:
        if self._handle is not None:
            self._sign("")  # whoever comes next may not be able to write its own
            os.close(self._handle)
            self._handle = None
