"""Files from the web: downloaded whole or not at all, resumed after an interruption, known by their hash.

A file that its publisher gives no hash for is pinned: the hash of the first complete download that proves to be what it
should be is written to `sha256.json` beside it, and checked from then on. Without torch.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from suite.models.checkpoints.embedded import WeightsError, sha256_of
from suite.models.checkpoints.on_disk import locked, write_whole
from suite.models.checkpoints.pins import PINS, RemoteFile, check_sha256, expected_sha256, how_to_unpin, pin

TIMEOUT_S = 30.0  # of silence, not of the whole
ATTEMPTS = 4  # in a row that bring nothing new
CONNECTIONS = 16  # times as many in all, for a server that gives a little each time
PAUSE_S = 1.0  # after the first failure; doubled after each further one
BLOCK = 1 << 20
LARGEST_BYTES = 16 << 30  # three times the largest checkpoint: a stream without an end must not fill the disk
VALIDATORS = {"ETag": "etag", "Last-Modified": "last_modified"}  # by header, what the state of a part calls it
AGAIN = {408, 425, 429}  # besides 5xx: worth another try
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Report = Callable[[int, "int | None"], None]
"""report(bytes here, bytes in all or None)"""


class _Changed(Exception):
    """The part that is here belongs to another file than the server has now."""


class _NoRange(Exception):
    """The server answered for a range with something else; the part that is here may be sound."""


def download(
    file: RemoteFile,
    folder: Path,
    *,
    report: Report = lambda here, total: None,
    accept: Callable[[Path], object] = lambda path: None,
    timeout_s: float = TIMEOUT_S,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
) -> Path:
    """The file's path in the folder, downloaded unless it is there. WeightsError says why there is none.

    accept: called on the complete file before it gets its name and before its hash is pinned; what it raises refuses
    the file, which is then removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    with locked(folder / f"{file.name}.lock"):
        known = expected_sha256(file, folder)
        where = "published" if file.sha256 else f"pinned in {folder / PINS}"
        unpin = how_to_unpin(file, folder, own=True)
        if target.exists():
            found = sha256_of(target)
            if known is not None:
                check_sha256(target, known, found, where, "delete it to download it again", unpin)
            accept(target)
            if known is None:
                pin(file, found, folder)
            return target
        part = target.with_name(f"{file.name}.part")
        _transfer(file, part, report, timeout_s, attempts, pause_s)
        found = sha256_of(part)
        try:
            if known is not None:
                check_sha256(part, known, found, f"{where}, from {file.url}", unpin)
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
    """Fill the part to its end, however often the connection breaks; but not for ever.

    Only what was never here before is progress: a server that breaks off at half and cannot go on from there gives
    the same half again and again.
    """
    failures, restarts, connections, ranges = 0, 0, 0, True
    furthest = _size(part) if _read_state(part).get("url") == file.url else 0
    while True:
        try:
            _once(file, part, report, timeout_s, ranges)
            return
        except _Changed:
            _forget(part)
            restarts, furthest = restarts + 1, 0
            trouble = "the file changed on the server since its first part was downloaded"
        except _NoRange as error:
            ranges, trouble = False, f"the server does not go on where it broke off ({error})"
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
        failures = 0 if _size(part) > furthest else failures + 1
        furthest, connections = max(furthest, _size(part)), connections + 1
        if max(failures, restarts) >= attempts or connections >= attempts * CONNECTIONS:
            tries = f"{failures} tries without a new byte" if failures >= attempts else f"{connections} connections"
            raise WeightsError(
                f"{file.url}: given up after {tries}: {trouble}; "
                f"{_size(part):,} bytes are kept in {part} for the next time"
            )
        time.sleep(pause_s * 2**failures)


def _once(file: RemoteFile, part: Path, report: Report, timeout_s: float, ranges: bool) -> None:
    """One connection: what is missing of the part, or all of it."""
    here, state = _size(part), _read_state(part)
    if not ranges or state.get("url") != file.url:
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
        if error.code == 416 and here:  # nothing is left, or what is here is longer than the file, or no ranges at all
            said, known = _total(error.headers.get("Content-Range")), state.get("total")
            error.close()
            if here == said == known:
                return
            changed = here > (known or here) or said not in (None, known)
            raise (_Changed() if changed else _NoRange(f"{error.code} {error.reason}")) from None
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
    length = _number(answer.headers.get("Content-Length"))
    if answer.status == 206:
        said = answer.headers.get("Content-Range", "")
        total, start = _total(said), re.match(r"bytes (\d+)-", said)
        if not here or start is None or _number(start[1]) != here:
            raise _NoRange(f"Content-Range: {said}" if said else "no Content-Range")
        if _differs(total, state.get("total")) or _of_another_file(answer, state):
            raise _Changed
        total, start = total if total is not None else state.get("total"), here
        if total is not None and length is not None and start + length > total:
            raise _NoRange(f"{length:,} bytes from {start:,} of {total:,}")
    else:  # the whole file: the server knows no ranges, or has another file now
        total, start = length, 0
    if total is not None and total > LARGEST_BYTES:
        raise WeightsError(f"{file.url}: the server's file has {total:,} bytes: too large to be what it should be")
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
            if here > LARGEST_BYTES:
                raise WeightsError(f"more than {LARGEST_BYTES:,} bytes came, and no end of them")
            report(here, total)
    finally:
        out.flush()
        os.fsync(out.fileno())


def _of_another_file(answer: http.client.HTTPResponse, state: dict) -> bool:
    """By the ETag, else by the date, as far as the server says them both times."""
    now = {key: answer.headers.get(header) for header, key in VALIDATORS.items()}
    said = next((key for key in VALIDATORS.values() if now[key] and state.get(key)), None)
    return said is not None and now[said] != state[said]


def _differs(now: object, before: object) -> bool:
    """Whether both are said, and are not the same."""
    return now is not None and before is not None and now != before


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None


def _total(content_range: str | None) -> int | None:
    found = re.search(r"/(\d+)$", content_range or "")
    return _number(found[1]) if found else None


def _new_state(file: RemoteFile, answer: http.client.HTTPResponse, total: int | None) -> dict:
    said = {key: answer.headers.get(header) for header, key in VALIDATORS.items()}
    etag = said["etag"]
    strong = etag if etag and not etag.startswith("W/") else None
    return {"url": file.url, "total": total, **said, "validator": strong or said["last_modified"]}


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_state(part: Path) -> dict:
    try:
        state = json.loads(_state(part).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _no_room(part: Path, words: str) -> str:
    return f"{part}: no room on the disk: {words}. Free some, or set TEXT3D_WEIGHTS to a folder on another disk"
