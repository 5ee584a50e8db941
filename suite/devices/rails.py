"""The power rails of a Jetson module: INA3221 monitors in sysfs, read every 50 ms in a pass of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from suite.devices.backend import read_number, read_text
from suite.records import Energy

SAMPLE_EVERY_S = 0.05
IDLE_READINGS = 5


def find_hwmon(root: Path, name: str) -> Path | None:
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_text(path / "name") == name:
            return path
    return None


def find_rails(root: Path) -> dict[str, tuple[Path, Path]]:
    """The INA3221 rails of the module by label: files of millivolts and of milliamperes. Not the whole board."""
    rails = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_text(folder / "name") != "ina3221":
            continue
        for label in sorted(folder.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            volts, amperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"
            name = read_text(label)
            # The sum of shunt voltages is listed as a fourth channel, and is no rail.
            if name and name != "NC" and "sum" not in name.lower() and volts.exists() and amperes.exists():
                rails[name] = (volts, amperes)
    return rails


@dataclass
class RailMeter:
    """Integrates the rails' power by the trapezoid rule in a thread, from `start` to `read`. The level of the idle
    board is read when the meter is made."""

    rails: dict[str, tuple[Path, Path]]
    energy_j: float = 0.0
    readings: int = 0
    failed: int = 0
    reason: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        levels = []
        for _ in range(IDLE_READINGS):
            levels.append(self.power_w())
            time.sleep(SAMPLE_EVERY_S)
        self.idle_w = None if None in levels else median(levels)
        self.readings = self.failed = 0
        self.reason = None

    def power_w(self) -> float | None:
        """The sum over the rails, or None: a sum without one rail would be too small."""
        self.readings += 1
        total = 0
        for rail, paths in self.rails.items():
            values = [read_number(path) for path in paths]
            if None in values:
                path = paths[values.index(None)]
                self.failed += 1
                self.reason = self.reason or f"{rail}: {path.name} says {read_text(path)!r}"
                return None
            total += values[0] * values[1]
        return total / 1e6

    def start(self) -> None:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        then, power = time.monotonic(), self.power_w()
        running = True
        while running:
            running = not self._stop.wait(SAMPLE_EVERY_S)
            now, next_power = time.monotonic(), self.power_w()
            if power is not None and next_power is not None:
                self.energy_j += (now - then) * (power + next_power) / 2
            then, power = now, next_power

    def read(self) -> Energy | None:
        self._stop.set()
        self._thread.join()
        if self.failed:
            self.reason = f"{self.failed} of {self.readings} readings of the rails failed ({self.reason})"
            return None
        return Energy(rails=list(self.rails), energy_j=self.energy_j, idle_w=self.idle_w)
