"""Files from the web: downloaded whole or not at all, resumed after an interruption, known by their hash.

A file that its publisher gives no hash for is pinned: the hash of the first complete download that can be read is
written to `sha256.json` beside it, and checked from then on. Without torch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from suite.models.checkpoints.embedded import WeightsError, sha256_of

PINS = "sha256.json"
TIMEOUT_S = 30.0  # of silence, not of the whole
ATTEMPTS = 4  # in a row without a new byte
PAUSE_S = 1.0  # after the first failure; doubled after each further one
BLOCK = 1 << 20
AGAIN = {408, 425, 429}  # besides 5xx: worth another try
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Report = Callable[[int, "int | None"], None]
"""report(bytes here, bytes in all or None)"""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    name: str  # in the cache
    url: str
    sha256: str | None = None  # None: not published
    bytes: int | None = None
    source: str  # who published it, and where its hash comes from


class _Changed(Exception):
    """The part that is here belongs to another file than the server has now."""


def expected_sha256(file: RemoteFile, *folders: Path) -> str | None:
    """The published hash, or the one pinned in the first of the folders that has one."""
    return file.sha256 or next((pin for folder in folders if (pin := read_pins(folder).get(file.name))), None)


def read_pins(folder: Path) -> dict[str, str]:
    path = folder / PINS
    try:
        pins = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: the list of pinned hashes cannot be read ({error})") from None
    if not isinstance(pins, dict) or not all(isinstance(value, str) for value in pins.values()):
        raise WeightsError(f"{path}: expected an object of hashes by file name")
    return pins


def pin(file: RemoteFile, sha256: str, folder: Path) -> None:
    """Keep the hash of a file that has none published."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{PINS}.lock"):
        pins = read_pins(folder) | {file.name: sha256}
        write_whole(folder / PINS, json.dumps(pins, indent=1, sort_keys=True).encode() + b"\n")


def check_sha256(path: Path, expected: str, found: str, where: str) -> None:
    if found != expected:
        raise WeightsError(
            f"{path}: sha256 is {found}, expected {expected} ({where}); the file is altered or truncated"
        )


def download(
    file: RemoteFile, folder: Path, *, report: Report = lambda here, total: None,
    accept: Callable[[Path], object] = lambda path: None,
    timeout_s: float = TIMEOUT_S, attempts: int = ATTEMPTS, pause_s: float = PAUSE_S,
) -> Path:  # fmt: skip
    """The file's path in the folder, downloaded unless it is there. WeightsError says why there is none.

    accept: called on the complete file before it gets its name and before its hash is pinned; what it raises refuses
    the file, which is then removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    with locked(folder / f"{file.name}.lock"):
        known = expected_sha256(file, folder)
        where = "published" if file.sha256 else f"pinned in {folder / PINS}"
        if target.exists():
            found = sha256_of(target)
            if known is not None:
                check_sha256(target, known, found, f"{where}; delete the file to download it again")
            else:
                accept(target)
                pin(file, found, folder)
            return target
        part = target.with_name(f"{file.name}.part")
        _transfer(file, part, report, timeout_s, attempts, pause_s)
        found = sha256_of(part)
        try:
            if known is not None:
                check_sha256(part, known, found, f"{where}, from {file.url}")
            accept(part)
        except WeightsError:
            _forget(part)
            raise
        os.replace(part, target)
        _forget(part)
        if known is None:
            pin(file, found, folder)
    return target


def _transfer(file: RemoteFile, part: Path, report: Report, timeout_s: float, attempts: int, pause_s: float) -> None:
    """Fill the part to its end, however often the connection breaks."""
    failures, trouble = 0, ""
    while True:
        before = _size(part)
        try:
            _once(file, part, report, timeout_s)
            return
        except _Changed:
            _forget(part)
            trouble = "the file changed on the server since its first part was downloaded"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in AGAIN:
                raise WeightsError(f"{file.url}: the server answers {error.code} {error.reason}") from None
            trouble = f"the server answers {error.code} {error.reason}"
        except OSError as error:
            if error.errno in FULL:
                raise WeightsError(_no_room(part, f"{_size(part):,} bytes are kept for the next try")) from None
            reason = getattr(error, "reason", None) or error
            trouble = str(reason) or type(reason).__name__
        except http.client.HTTPException as error:
            trouble = f"{type(error).__name__}: {error}"
        failures = 0 if _size(part) > before else failures + 1
        if failures >= attempts:
            raise WeightsError(
                f"{file.url}: given up after {failures} tries without a new byte: {trouble}; "
                f"{_size(part):,} bytes are kept in {part} for the next time"
            )
        time.sleep(pause_s * 2**failures)


def _once(file: RemoteFile, part: Path, report: Report, timeout_s: float) -> None:
    """One connection: what is missing of the part, or all of it."""
    here, state = _size(part), _read_state(part)
    if here and state.get("url") != file.url:
        here = 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "text3d-bench"}
    if here:
        headers["Range"] = f"bytes={here}-"
        if state.get("validator"):
            headers["If-Range"] = state["validator"]
        elif state.get("total") is None:  # nothing would tell whether the rest belongs to this beginning
            here = 0
            del headers["Range"]
    try:
        answer = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == 416 and here:  # nothing is left, or what is here is longer than the file
            if here == _total(error.headers.get("Content-Range")) == state.get("total"):
                error.close()
                return
            error.close()
            raise _Changed from None
        raise
    with answer:
        total, start = _agreed(file, answer, here, state)
        room = shutil.disk_usage(part.parent).free
        if total is not None and total - start > room:
            raise WeightsError(_no_room(part, f"{total - start:,} bytes are missing, {room:,} are free"))
        if start == 0:  # in this order, so that no beginning ever stands beside another file's state
            _forget(part)
            write_whole(_state(part), json.dumps(_new_state(file, answer, total)).encode())
        with open(part, "r+b" if start else "wb") as out:
            out.seek(start)
            _copy(answer, out, start, total, report)
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended at {_size(part):,} of {total:,} bytes")


def _agreed(file: RemoteFile, answer: http.client.HTTPResponse, here: int, state: dict) -> tuple[int | None, int]:
    """The file's length, if the server says it, and the place from which its answer goes on."""
    length = answer.headers.get("Content-Length")
    if answer.status == 206:
        whole = answer.headers.get("Content-Range", "")
        total, start = _total(whole), re.match(r"bytes (\d+)-", whole)
        if not here or start is None or int(start[1]) != here or (total or 0) != (state.get("total") or total or 0):
            raise _Changed
        if answer.headers.get("ETag") and state.get("etag") and answer.headers["ETag"] != state["etag"]:
            raise _Changed
        start = here
    else:  # the whole file: the server knows no ranges, or has another file now
        total, start = (int(length) if length is not None and length.isdecimal() else None), 0
    if total is not None and file.bytes is not None and total != file.bytes:
        raise WeightsError(f"{file.url}: the server's file has {total:,} bytes, expected {file.bytes:,}")
    if total is None and file.bytes is None and file.sha256 is None and not answer.chunked:
        raise WeightsError(
            f"{file.url}: the server does not say how long the file is, so that nothing would tell whether it is whole"
        )
    return total if total is not None else file.bytes, start


def _copy(answer: http.client.HTTPResponse, out: BinaryIO, here: int, total: int | None, report: Report) -> None:
    report(here, total)
    try:
        while block := answer.read1(BLOCK):
            out.write(block)
            here += len(block)
            if total is not None and here > total:
                raise _Changed
            report(here, total)
    finally:
        out.flush()
        os.fsync(out.fileno())


def _total(content_range: str | None) -> int | None:
    found = re.search(r"/(\d+)$", content_range or "")
    return int(found[1]) if found else None


def _new_state(file: RemoteFile, answer: http.client.HTTPResponse, total: int | None) -> dict:
    etag = answer.headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None
    return {
        "url": file.url,
        "total": total,
        "etag": etag,
        "validator": strong or answer.headers.get("Last-Modified"),
    }


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_state(part: Path) -> dict:
    try:
        state = json.loads(_state(part).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _no_room(part: Path, words: str) -> str:
    return f"{part}: no room on the disk: {words}. Free some, or set TEXT3D_WEIGHTS to a folder on another disk"


def write_whole(path: Path, data: bytes) -> None:
    """Written, flushed to the disk and only then given its name."""
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(passing, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, path)
    finally:
        passing.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; a second one waits. The file stays: removing it would let two in."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the process that holds {path}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
