"""Upper limits of a Jetson's clocks, and whether they are pinned: by `jetson_clocks`, or by the governor "performance".

A capped power mode shows here, and so do clocks that are free to fall: a latency with them is another measurement. The
memory's clock is left out, since only root may read it, and who starts pytest must not change a fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.devices.backend import read_number, read_text

PINNING_GOVERNORS = ("performance",)


@dataclass(frozen=True)
class Clock:
    highest_hz: int
    pinned: bool | None  # None: its lowest is not known


def gpu_folder(root: Path) -> Path | None:
    """The GPU's folder of clocks. JetPack 6 says "gpu", 5 the name of the chip's GPU."""
    folder = root / "sys/class/devfreq"
    return next((p for name in ("gpu", "ga10b", "gv11b") for p in sorted(folder.glob(f"*{name}*"))), None)


def clocks(root: Path) -> str | None:
    """ "gpu 1300 MHz pinned cpu 2202 MHz free", or None where nothing is known."""
    gpu = gpu_folder(root)
    cores = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")
    known = {
        "gpu": [_clock(gpu, "max_freq", "min_freq", "governor", 1)] if gpu else [],
        "cpu": [_clock(core, "scaling_max_freq", "scaling_min_freq", "scaling_governor", 1000) for core in cores],
    }
    told = (_told(part, [clock for clock in found if clock is not None]) for part, found in known.items())
    return " ".join(filter(None, told)) or None


def _clock(folder: Path, highest: str, lowest: str, governor: str, unit_hz: int) -> Clock | None:
    high, low = read_number(folder / highest), read_number(folder / lowest)
    if high is None:
        return None
    if read_text(folder / governor) in PINNING_GOVERNORS:
        return Clock(high * unit_hz, True)
    return Clock(high * unit_hz, None if low is None else low == high)


def _told(part: str, found: list[Clock]) -> str | None:
    if not found:
        return None
    highest = "/".join(f"{hz / 1e6:.0f}" for hz in sorted({clock.highest_hz for clock in found}, reverse=True))
    states = {clock.pinned for clock in found}
    state = "" if None in states else " pinned" if states == {True} else " free"
    return f"{part} {highest} MHz{state}"
