"""A history's index: what its files said when they were last read, so that only new and changed ones are read again.

A cache, one Parquet file a history folder, in the user's cache folder. It can be deleted at any time. A file's lines
hold as long as its size, its time of change and its inode are the same; the whole index, as long as the code that reads
records is. What is damaged is made anew. Where it cannot be kept, every file is read, as `suite.history.read_folder`
does. The answer is the same.

A measurement from the index is a `Kept`: names, times and figures are at hand. For anything else its file is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import cast

import pyarrow
import pydantic
from pyarrow import parquet

from suite.collecting import paused
from suite.history import Contents, History, Unread, gathered, history_files, read_folder
from suite.index.kept import TEXT, Line, Table
from suite.index.making import SCHEMA, Stat, make, stat_of
from suite.machine import SessionMachine
from suite.records import Measurement

VARIABLE = "TEXT3D_INDEX"  # another folder than the user's cache
WORTH_BYTES = 4_000_000  # a history below this is read in a moment, and leaves nothing in the cache
FORGOTTEN_S = 60 * 24 * 3600  # since an index was written
# They decide what an index holds.
READERS = (
    "fields.py",
    "history.py",
    "machine.py",
    "outcomes.py",
    "records.py",
    "index/kept.py",
    "index/making.py",
    "index/reading.py",
)
ROOT = Path(__file__).parents[1]
TEXTS = [field.name for field in SCHEMA if field.type == TEXT]
CODED = pyarrow.schema(
    [(f.name, pyarrow.dictionary(pyarrow.int32(), TEXT) if f.type == TEXT else f.type) for f in SCHEMA]
)


def index_folder() -> Path:
    """TEXT3D_INDEX, else a folder in the user's cache."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "text3d-bench" / "index"


def index_file(folder: Path) -> Path:
    return index_folder() / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.parquet"


@cache
def version() -> str:
    """What an index was written by: another one is not read."""
    code = hashlib.sha256()
    for name in READERS:
        code.update((ROOT / name).read_bytes())
    return f"{code.hexdigest()[:16]} {sys.version_info[:2]} {pydantic.VERSION} {pyarrow.__version__}"


@paused()
def read_indexed(folder: Path, *, set_aside: bool = True, worth_bytes: int = WORTH_BYTES) -> History:
    """As `suite.history.read_folder`, in the time that the new and changed files take."""
    stats = {path: stat_of(path) for path in history_files(folder)}
    if sum(stat[0] for stat in stats.values()) < worth_bytes:
        return read_folder(folder, set_aside=set_aside)
    try:
        file = index_file(folder)
    except RuntimeError:  # a user without a home
        return read_folder(folder, set_aside=set_aside)
    known = _Index.load(file)
    found = _updated(known, folder, stats)
    if found is not known:
        found.save(file)
    return gathered(folder, found.contents(folder, stats), set_aside)


class _Index:
    """`files` by their path below the folder: its `stat`, `lines` (how many of the table, in the order of the files),
    `problems`, and where there are such its `machine` and `error`. `fresh` holds what was read just now and is too
    young to be kept, or could not be reached."""

    def __init__(self, files: dict[str, dict], table: pyarrow.Table, fresh: dict[str, Contents] | None = None):
        self.files, self.table, self.fresh = files, table, fresh or {}

    @classmethod
    def load(cls, path: Path) -> _Index:
        """Empty where there is none that is whole and of this version."""
        try:
            # Not `read_table`, which imports pandas. Texts are there once, as the file has them.
            with parquet.ParquetFile(path, page_checksum_verification=True, read_dictionary=TEXTS) as file:
                table = file.read()
            about = json.loads(table.schema.metadata[b"files"])
            if about["version"] == version() and table.schema.equals(CODED):
                files = about["files"]
                if sum(facts["lines"] for facts in files.values()) == len(table):
                    return cls(files, table.replace_schema_metadata(None))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pyarrow.ArrowException):
            pass
        return cls({}, CODED.empty_table())

    def save(self, path: Path) -> None:
        """Whole or not at all, and not where it cannot be. Two may do so at once."""
        about = {"version": version(), "files": self.files}
        table = self.table.replace_schema_metadata({"files": json.dumps(about)})
        passing = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, passing, compression="zstd", write_page_checksum=True)
            os.replace(passing, path)
            _forget(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                passing.unlink()

    def contents(self, folder: Path, order: Iterable[Path]) -> Iterator[tuple[Path, Contents]]:
        """Of each file, as if it had just been read."""
        table, starts, start = Table(self.table), {}, 0
        for name, facts in self.files.items():
            starts[name] = start
            start += facts["lines"]
        keys = list(zip(*(table.columns[name] for name in ("session", "board", "configuration", "measured_at"))))
        for path in order:
            name = _name(path, folder)
            if name in self.fresh:
                yield path, self.fresh[name]
                continue
            facts = self.files[name]
            lines = range(starts[name], starts[name] + facts["lines"])
            found = _contents(facts, cast(list[Measurement], [Line(table, line, path) for line in lines]))
            found.keys = keys[lines.start : lines.stop]
            yield path, found


def _updated(known: _Index, folder: Path, stats: dict[Path, Stat]) -> _Index:
    """The index of the files as they are now; the known one itself where nothing else is to be kept."""
    names = {_name(path, folder): path for path in stats}
    same = {n for n, path in names.items() if n in known.files and tuple(known.files[n]["stat"]) == stats[path]}
    if same == names.keys() == known.files.keys():
        return known  # without pyarrow's first array, for which it imports pandas
    kept: list[list[int]] = []  # first line and end of what stays, in few and long pieces
    start = 0
    for name, facts in known.files.items():
        end = start + facts["lines"]
        if name in same and kept and kept[-1][1] == start:
            kept[-1][1] = end
        elif name in same:
            kept.append([start, end])
        start = end
    made = make(folder, {name: stats[path] for name, path in names.items() if name not in same})
    if same == known.files.keys() and not made.files:
        known.fresh = made.fresh
        return known
    files = {name: facts for name, facts in known.files.items() if name in same} | made.files
    old = [known.table.slice(first, end - first).cast(SCHEMA) for first, end in kept]
    return _Index(files, pyarrow.concat_tables([*old, made.lines]).combine_chunks(), made.fresh)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _contents(facts: dict, measurements: list[Measurement]) -> Contents:
    machine = SessionMachine.model_validate(facts["machine"]) if "machine" in facts else None
    error = Unread(*facts["error"]) if "error" in facts else None
    return Contents(measurements, machine=machine, problems=facts["problems"], error=error)


def _forget(folder: Path) -> None:
    """Indexes that nobody has written for long: of folders that are gone."""
    for path in folder.glob("*.parquet"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGOTTEN_S:
                path.unlink()
