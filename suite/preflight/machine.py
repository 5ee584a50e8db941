"""Checks of the whole machine, without torch: governor, neighbours, memory, swap, disk, clock."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

from suite.devices.backend import read_number, read_text
from suite.devices.cgroup import cpu_groups
from suite.machine import Check, State
from suite.preflight.clock import why_behind
from suite.preflight.neighbours import neighbours
from suite.preflight.place import Site, graded, told

GIB, MIB = 2**30, 2**20
# A worker of the smallest model holds 0.5 GB with torch, the fork server as much.
SCARCE_MEMORY_BYTES, TOO_LITTLE_MEMORY_BYTES = 2 * GIB, GIB // 2
SWAPPED_BYTES = 64 * MIB  # less is what a machine puts away once and never asks for again
# A session's file with 153 outcomes a cell is some megabytes.
SCARCE_DISK_BYTES, TOO_LITTLE_DISK_BYTES = GIB, 100 * MIB
OTHERS_CORES = 0.2  # of processors' time; a quiet desktop's daemons take less


def governor(site: Site) -> Check:
    cores = (site.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = Counter(filter(None, map(read_text, cores)))
    if not found:
        return told("governor", State.UNKNOWN, "the kernel shows none (a virtual machine, a container)")
    words = ", ".join(f"{name} on {count}" for name, count in sorted(found.items()))
    return told("governor", graded(set(found) != {"performance"}), words, "sudo cpupower frequency-set -g performance")


def others_on_processors(site: Site) -> Check:
    """Over a quarter of a second; processes that a container hides count, without their names."""
    seen = neighbours(site.root)
    if seen is None:
        return told("others on processors", State.UNKNOWN, "the kernel does not say")
    named = ", ".join(f"{name} {cores:.0%}" for name, cores in seen.busiest)
    found = f"{max(seen.cores, 0):.1f} of {os.cpu_count()} processors{f' ({named})' if named else ''}"
    return told("others on processors", graded(seen.cores > OTHERS_CORES), found, "end or wait for them: top")


def free_memory(site: Site) -> Check:
    available = _meminfo(site.root).get("MemAvailable")
    if available is None:
        return told("free memory", State.UNKNOWN, "the kernel does not say")
    left = min([available, *_left_to_groups(site.root)])
    return told(
        "free memory",
        graded(left < SCARCE_MEMORY_BYTES, left < TOO_LITTLE_MEMORY_BYTES),
        _size(left),
        "close programs (on a Jetson the desktop: sudo systemctl isolate multi-user.target), or raise the container's",
    )


def swap(site: Site) -> Check:
    said = _meminfo(site.root)
    if "SwapTotal" not in said or "SwapFree" not in said:
        return told("swap in use", State.UNKNOWN, "the kernel does not say")
    used = said["SwapTotal"] - said["SwapFree"]
    found = f"{_size(used)} of {_size(said['SwapTotal'])}"
    return told("swap in use", graded(used > SWAPPED_BYTES), found, "sudo swapoff -a && sudo swapon -a")


def free_disk(site: Site) -> Check:
    folder = next((p for p in (site.history, *site.history.parents) if p.is_dir()), Path("/"))
    try:
        left = shutil.disk_usage(folder).free
    except OSError as error:
        return told("free disk", State.UNKNOWN, f"{folder}: {error.strerror or error}")
    state = graded(left < SCARCE_DISK_BYTES, left < TOO_LITTLE_DISK_BYTES)
    return told("free disk", state, f"{_size(left)} where the history is kept", f"make room: du -sh {folder}/*")


def clock(site: Site) -> Check:
    reason = why_behind(site.history, site.checkout)
    return told("clock", graded(False, reason is not None), reason or "not behind what is recorded", "see there")


MACHINE_CHECKS = (governor, others_on_processors, free_memory, swap, free_disk, clock)


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes by name."""
    found = {}
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        if rest.split() and rest.split()[0].isdigit():
            found[name] = int(rest.split()[0]) * 1024
    return found


def _left_to_groups(root: Path) -> list[int]:
    """What the limits of a container leave, where it has some (control groups of version 2)."""
    pairs = [(read_number(g / "memory.max"), read_number(g / "memory.current")) for g in cpu_groups(root)]
    return [most - used for most, used in pairs if most is not None and used is not None]


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
