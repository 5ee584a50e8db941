"""The process's own control group: how much processor time a container leaves it, and how long it was stopped."""

from __future__ import annotations

from pathlib import Path

from suite.devices.backend import read_text


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that this process may use: the tightest quota up to the top. None: no limit."""
    quotas = [quota for folder in cpu_groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def throttled_us(root: Path = Path("/")) -> int | None:
    """Microseconds that quotas stopped this process so far, its own group's and those above, which stop it as well.
    None where nothing is counted."""
    counted = [us for folder in cpu_groups(root) if (us := _throttled_us(folder)) is not None]
    return sum(counted) if counted else None


def cpu_groups(root: Path = Path("/")) -> list[Path]:
    """Folders of this process's group and of those above it, own first. Empty where no group can be seen."""
    version, path = _own_path(read_text(root / "proc/self/cgroup") or "")
    if path is None:
        return []
    for inside, mount in _mounts(root, version):
        # Without a namespace of its own a container sees the host's path, and only its own branch mounted.
        below = Path(path.lstrip("/"))
        if ".." in below.parts:
            below = Path()
        elif inside != "/":
            below = Path(path).relative_to(inside) if Path(path).is_relative_to(inside) else Path()
        folders = [mount / part for part in (below, *below.parents)]
        if found := [folder for folder in folders if folder.is_dir()]:
            return found
    return []


def _own_path(text: str) -> tuple[int, str | None]:
    """The version of the hierarchy that has the cpu controller, and the path in it."""
    unified = None
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            return 1, path
        if number == "0" and not controllers:
            unified = path
    return 2, unified


def _mounts(root: Path, version: int) -> list[tuple[str, Path]]:
    """Where the hierarchy can be: (the path that is mounted, where), as mountinfo says, else where it usually is."""
    found = []
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, *options) = left.split(), right.split() or [""]
        if len(fields) < 5 or not options:
            continue
        if kind == "cgroup2" if version == 2 else kind == "cgroup" and "cpu" in options[-1].split(","):
            found.append((fields[3], root / fields[4].lstrip("/")))
    usual = ("",) if version == 2 else ("cpu,cpuacct", "cpu")
    return found + [("/", root / "sys/fs/cgroup" / name) for name in usual]


def _quota(folder: Path) -> float | None:
    if text := read_text(folder / "cpu.max"):  # version 2: "200000 100000", "max 100000"
        quota, _, period = text.partition(" ")
    else:
        quota, period = (read_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    # "max", "-1" and what is no number set no limit.
    return int(quota) / int(period or 100_000) if quota.isdigit() and (period or "1").isdigit() else None


def _throttled_us(folder: Path) -> int | None:
    pairs = dict(line.split() for line in (read_text(folder / "cpu.stat") or "").splitlines() if line.count(" ") == 1)
    for key, per_us in (("throttled_usec", 1), ("throttled_time", 1000)):  # version 2; version 1, in nanoseconds
        if pairs.get(key, "").isdigit():
            return int(pairs[key]) // per_us
    return None
