"""How long others kept a processor from this process: the kernel's own accounts, without sampling.

`/proc/<pid>/task/<tid>/schedstat`, second field: nanoseconds that a thread was ready to run and waited
(https://docs.kernel.org/scheduler/sched-stats.html). `/proc/stat`, eighth value of a processor: ticks in which the host
of a virtual machine ran something else (proc_stat(5)).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

WAITED_SHARE = 0.02  # of a sample: the ±2 % that rounds stop at
QUEUE, STOLEN = "in the run queue", "while the host of this virtual machine ran others"


@dataclass(frozen=True)
class Waits:
    """So far, in seconds."""

    queued_s: dict[str, float] = field(default_factory=dict)  # by thread
    stolen_s: float | None = None  # of all processors that this process may run on


def waits(root: Path = Path("/"), processors: Collection[int] | None = None) -> Waits:
    """Of this process's threads, and of these processors (None: those it may run on)."""
    if processors is None:
        processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return Waits(_queued_s(root / "proc/self/task"), _stolen_s(root / "proc/stat", processors))


def _queued_s(tasks: Path) -> dict[str, float]:
    found = {}
    try:
        threads = os.listdir(tasks)
    except OSError:
        return {}
    for thread in threads:
        try:
            with open(f"{tasks}/{thread}/schedstat") as file:
                found[thread] = int(file.read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # it has just ended, or the kernel counts nothing
            continue
    return found


def _stolen_s(path: Path, processors: Collection[int]) -> float | None:
    names, ticks = {f"cpu{number}" for number in processors}, None
    try:
        with open(path) as file:
            for line in file:
                if not line.startswith("cpu"):
                    break
                fields = line.split()
                if fields[0] in names:
                    ticks = (ticks or 0) + int(fields[8])
    except (OSError, ValueError, IndexError):
        return None
    return None if ticks is None else ticks / os.sysconf("SC_CLK_TCK")


def taken(before: Waits, after: Waits, seconds: float) -> list[str]:
    """What of a span of so many seconds others took, where it is more than 2 %. In the run queue that of the thread
    that waited longest, since a parallel operation ends with its slowest thread."""
    queued_s = max((s - before.queued_s.get(thread, 0.0) for thread, s in after.queued_s.items()), default=0.0)
    known = before.stolen_s is not None and after.stolen_s is not None
    stolen_s = after.stolen_s - before.stolen_s if known else 0.0
    return [
        f"waited {waited_s:.3g} s of {seconds:.3g} s {where}"
        for waited_s, where in ((queued_s, QUEUE), (stolen_s, STOLEN))
        if waited_s > WAITED_SHARE * seconds
    ]
