"""Zip files of others, judged by their headers before anything of them is taken into memory. Without torch.

A few megabytes of a deflated zip can become gigabytes; entries may overlap, stand there twice, or lead out of a folder.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

BEGINS = b"PK\x03\x04"
PICKLE = "data.pkl"  # of a checkpoint's archive: which tensors there are
ENCRYPTED = 0x1  # of an entry's flags
BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError)  # what a damaged archive raises
LARGEST_ENTRY_BYTES = 64 << 20  # of a picture or a list of captions
GROWTH, ALWAYS_BYTES = 4, 64 << 20  # pictures are compressed already: all of them take at most this many times the file
LARGEST_TOTAL_BYTES = 2 << 30


class ArchiveError(Exception):
    """In words, why an archive is not read; without its path."""


def is_zip(path: Path) -> bool:
    """By its beginning too, which a truncated one still has."""
    return _begins_as_zip(path) or zipfile.is_zipfile(path)


def _begins_as_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(BEGINS)) == BEGINS


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its entries' headers checked. ArchiveError for what is wrong there, or breaks while it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            for fault in _faults(archive, path.stat().st_size):
                raise ArchiveError(fault)
            yield archive
    except BROKEN as error:
        cut = _begins_as_zip(path) and not zipfile.is_zipfile(path)
        reason = "its end is missing: truncated; fetch it again" if cut else error
        raise ArchiveError(f"not a zip file, or a broken one ({reason})") from None


def check_pictures(path: Path) -> None:
    """Refuse a zip file of pictures that is damaged, or would take more memory than pictures do."""
    with opened(path) as archive:
        check_growth(archive, path.stat().st_size)
        _check_content(archive)


def check_growth(archive: zipfile.ZipFile, size_bytes: int) -> None:
    """size_bytes: of the archive's file."""
    entries = archive.infolist()
    for entry in entries:
        if entry.file_size > LARGEST_ENTRY_BYTES:
            raise ArchiveError(f"{entry.filename!r} would become {entry.file_size:,} bytes, which are no picture's")
    total = sum(entry.file_size for entry in entries)
    most = min(LARGEST_TOTAL_BYTES, max(ALWAYS_BYTES, GROWTH * size_bytes))
    if total > most:
        raise ArchiveError(f"it would become {total:,} bytes; pictures in a file of its size are at most {most:,}")


def check_checkpoint(path: Path) -> None:
    """Refuse a zip file that `torch.save` does not write: a part compressed, altered, or of another kind of archive.

    torch maps the stored bytes as they are: of a compressed entry it would take them for numbers. It checks no CRC.
    """
    with opened(path) as archive:
        # torch takes the folder of the first entry; and not every reader tells small letters from capitals.
        names = [entry.filename.lower() for entry in archive.infolist()]
        last_names = [PurePosixPath(name).name for name in names]
        if "constants.pkl" in last_names:
            raise ArchiveError("a TorchScript archive, which brings code; weights are tensors by name")
        if PICKLE not in last_names:
            raise ArchiveError(f"a zip file, but no checkpoint: it has no {PICKLE}")
        if len({name.split("/")[0] for name in names}) > 1 or len(set(names)) < len(names):
            raise ArchiveError("torch would not know which of its entries are meant: there are two of a name or folder")
        if last_names.count(PICKLE) > 1:
            raise ArchiveError(f"it has more than one {PICKLE}")
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ArchiveError(f"{entry.filename!r} is compressed, which parts of a checkpoint never are")
        _check_content(archive)


def _check_content(archive: zipfile.ZipFile) -> None:
    if (broken := archive.testzip()) is not None:
        raise ArchiveError(f"{broken!r} in it is altered: its CRC is another")


def _faults(archive: zipfile.ZipFile, size: int) -> Iterator[str]:
    entries, seen = archive.infolist(), set()
    for entry in entries:
        name = entry.filename
        if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in name.split("/"):
            yield f"{name!r} leads out of the archive"
        if name in seen:
            yield f"{name!r} is in it twice"
        seen.add(name)
        if entry.flag_bits & ENCRYPTED:
            yield f"{name!r} is encrypted"
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield f"{name!r} is compressed in a way that is not read here"
    if sum(entry.compress_size for entry in entries) > size:
        yield "its entries claim more bytes than the file has"
