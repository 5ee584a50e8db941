"""Files of a history as lines of an index: read here, and where there is much to read by a process a core.

    python -m suite.index.making FOLDER < names.json > lines.arrow

is such a process. It is a program of its own and no fork: whoever asks may be a server with threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow

from suite.collecting import paused
from suite.history import Contents, contents_of
from suite.index.kept import FIELDS, line_of

SCHEMA = pyarrow.schema(FIELDS)
UNSETTLED_NS = 2_000_000_000  # a file may change twice within a tick of its clock: one that is so young is read again
SHARED_BYTES = 40_000_000  # from here on others help: they need a second to begin, in which 10 MB are read
MOST_PROCESSES = 8
ROOT = Path(__file__).parents[2]
Stat = tuple[int, int, int]


@dataclass
class Made:
    """`files` by name: their facts, in the order of their `lines`. `fresh` is what is not to be kept: too young, or out
    of reach just now."""

    files: dict[str, dict] = field(default_factory=dict)
    lines: pyarrow.Table = field(default_factory=SCHEMA.empty_table)
    fresh: dict[str, Contents] = field(default_factory=dict)


def stat_of(path: Path) -> Stat:
    """(size, time of change in ns, inode); zeros where it is gone, and reading it will say so."""
    try:
        facts = path.stat()
    except OSError:
        return (0, 0, 0)
    return (facts.st_size, facts.st_mtime_ns, facts.st_ino)


def make(folder: Path, stats: dict[str, Stat]) -> Made:
    """The lines of these files of a folder, in their order; stats as they were when the folder was looked at."""
    shares = shared_out(stats, _processes(sum(size for size, *_ in stats.values())))
    helpers = [_Helper(folder, share) for share in shares[1:]]
    made = [make_here(folder, shares[0]), *(helper.answer() for helper in helpers)]
    files = {name: facts for part in made for name, facts in part.files.items()}
    fresh = {name: found for part in made for name, found in part.fresh.items()}
    return Made(files, pyarrow.concat_tables(part.lines for part in made), fresh)


@paused()
def make_here(folder: Path, stats: dict[str, Stat]) -> Made:
    made, lines = Made(), []
    for name, stat in stats.items():
        path, now = folder / name, time.time_ns()
        found = contents_of(path)
        unsettled = abs(now - stat[1]) < UNSETTLED_NS or stat != stat_of(path)
        if unsettled or (found.error is not None and found.error.passing):
            made.fresh[name] = found
            continue
        made.files[name] = _facts(found, stat)
        lines += [line_of(m, number, cell) for m, (number, cell) in zip(found.measurements, found.cells.items())]
    columns = zip(*lines) if lines else [()] * len(SCHEMA)
    arrays = [pyarrow.array(column, wanted.type) for column, wanted in zip(columns, SCHEMA)]
    made.lines = pyarrow.Table.from_arrays(arrays, schema=SCHEMA)
    return made


def shared_out(stats: dict[str, Stat], processes: int) -> list[dict[str, Stat]]:
    """Neighbours together, about as many bytes each."""
    shares: list[dict[str, Stat]] = [{} for _ in range(processes)]
    whole, before = sum(size for size, *_ in stats.values()), 0
    for name, stat in stats.items():
        shares[min(processes - 1, before * processes // max(1, whole))][name] = stat
        before += stat[0]
    return shares


def _processes(size: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_PROCESSES, size // SHARED_BYTES + 1))


def _facts(found: Contents, stat: Stat) -> dict:
    facts = {"stat": stat, "lines": len(found.measurements), "problems": found.problems}
    facts |= {} if found.machine is None else {"machine": found.machine.model_dump(mode="json")}
    return facts | ({} if found.error is None else {"error": [found.error.why, found.error.broken]})


class _Helper:
    """A process that makes the lines of some files. Where it fails for whatever reason, they are made here."""

    def __init__(self, folder: Path, stats: dict[str, Stat]):
        self.folder, self.stats = folder, stats
        command = [sys.executable, "-m", "suite.index.making", str(folder.absolute())]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        }
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=nowhere)
        except OSError:
            self.process = None
            return
        with contextlib.suppress(BrokenPipeError):
            with self.process.stdin as asked:
                asked.write(json.dumps(stats).encode())

    def answer(self) -> Made:
        if self.process is None:
            return make_here(self.folder, self.stats)
        with self.process:
            try:
                with pyarrow.ipc.open_stream(self.process.stdout) as stream:
                    lines = stream.read_all()
                about = json.loads(lines.schema.metadata[b"about"])
            except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException):
                return make_here(self.folder, self.stats)
        fresh = {name: contents_of(self.folder / name) for name in about["fresh"]}
        return Made(about["files"], lines.replace_schema_metadata(None), fresh)


def main() -> None:
    stats = {name: tuple(stat) for name, stat in json.load(sys.stdin).items()}
    made = make_here(Path(sys.argv[1]), stats)
    about = json.dumps({"files": made.files, "fresh": list(made.fresh)})
    lines = made.lines.replace_schema_metadata({"about": about})
    with pyarrow.ipc.new_stream(sys.stdout.buffer, lines.schema) as stream:
        stream.write_table(lines)


if __name__ == "__main__":
    main()
