"""Who else keeps the processors busy, looked at over a quarter of a second (proc_stat(5), proc_pid_stat(5))."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from suite.devices.backend import read_text

WINDOW_S = 0.25  # twenty-five of the kernel's ticks; a session starts so much later
NAMED_CORES = 0.1  # less is not worth a name
NAMED = 3


@dataclass(frozen=True)
class Neighbours:
    cores: float  # processors' worth of time that others took, with what a host took from this virtual machine
    busiest: tuple[tuple[str, float], ...]  # processes by name, and the processors' worth of each


@dataclass(frozen=True)
class _Process:
    name: str
    parent: int
    ticks: int


def neighbours(root: Path = Path("/"), window_s: float = WINDOW_S) -> Neighbours | None:
    """All but this process and those that it started. None where the kernel keeps no account."""
    started, busy, before = time.monotonic(), _busy_ticks(root), _processes(root)
    time.sleep(window_s)
    span, busy_later, after = time.monotonic() - started, _busy_ticks(root), _processes(root)
    if busy is None or busy_later is None:
        return None
    per_core = span * os.sysconf("SC_CLK_TCK")
    took = {pid: p.ticks - before[pid].ticks for pid, p in after.items() if pid in before}
    ours = _family(after, os.getpid())
    others = sorted(
        ((ticks / per_core, after[pid].name) for pid, ticks in took.items() if pid not in ours), reverse=True
    )
    total = (busy_later - busy - sum(ticks for pid, ticks in took.items() if pid in ours)) / per_core
    return Neighbours(total, tuple((name, cores) for cores, name in others[:NAMED] if cores >= NAMED_CORES))


def _busy_ticks(root: Path) -> int | None:
    """Of all processors since the boot: user, nice, system, interrupts and what the host stole."""
    line = (read_text(root / "proc/stat") or "").partition("\n")[0]
    fields = line.split()
    if len(fields) < 9 or not line.startswith("cpu "):
        return None
    return sum(int(fields[k]) for k in (1, 2, 3, 6, 7, 8))


def _processes(root: Path) -> dict[int, _Process]:
    found = {}
    for folder in (root / "proc").glob("[0-9]*"):
        text = read_text(folder / "stat")
        name, closed, rest = (text or "").partition("(")[2].rpartition(")")
        fields = rest.split()
        if closed and len(fields) > 12:  # the name may hold anything, so the rest is counted from its end
            found[int(folder.name)] = _Process(name, int(fields[1]), int(fields[11]) + int(fields[12]))
    return found


def _family(processes: dict[int, _Process], pid: int) -> set[int]:
    """A process and all that it started, by and by."""
    found, pending = {pid}, [pid]
    while pending:
        parent = pending.pop()
        children = [child for child, process in processes.items() if process.parent == parent and child not in found]
        found |= set(children)
        pending += children
    return found
