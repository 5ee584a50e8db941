"""The power rails of a Jetson: INA3221 and INA238 monitors in sysfs, read every 50 ms in a pass of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from suite.devices.backend import read_number, read_text
from suite.devices.rail_layouts import UnknownRails, rails_to_add
from suite.records import Energy

SAMPLE_EVERY_S = 0.05
IDLE_READINGS = 5
INPUT_CHIPS = ("ina238", "ina237", "ina228")  # one channel each, at the input of a carrier board


def find_hwmon(root: Path, name: str) -> Path | None:
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_text(path / "name") == name:
            return path
    return None


Rails = dict[str, tuple[Path, Path]]  # by label: files of millivolts and of milliamperes


def find_rails(root: Path) -> Rails:
    """All rails that the board shows, whichever of them hold others (suite/devices/rail_layouts.py)."""
    rails: Rails = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        chip = read_text(folder / "name")
        if chip == "ina3221":
            for label in sorted(folder.glob("in*_label")):
                _add(rails, read_text(label), folder, label.name.removeprefix("in").removesuffix("_label"))
        elif chip in INPUT_CHIPS:
            _add(rails, read_text(folder / "label") or read_text(folder / "in1_label") or "VIN", folder, "1")
    return rails


def _add(rails: Rails, name: str | None, folder: Path, channel: str) -> None:
    volts, amperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"
    # The sum of shunt voltages is listed as one more channel, and is no rail.
    if name and name.upper() != "NC" and "sum" not in name.lower() and volts.exists() and amperes.exists():
        rails[name if name not in rails else f"{name} ({folder.name})"] = (volts, amperes)


@dataclass
class RailMeter:
    """Integrates by the trapezoid rule, in a thread, from `start` to `read`, the power of those rails whose sum is the
    module's. The level of the idle board is read when the meter is made."""

    rails: Rails
    energy_j: float = 0.0
    readings: int = 0
    failed: int = 0
    reason: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        try:
            self.added = rails_to_add(list(self.rails))
            self._unknown = None
        except UnknownRails as reason:
            self.added, self._unknown = [], str(reason)
        levels = []
        for _ in range(IDLE_READINGS):
            levels.append(self.power_w())
            time.sleep(SAMPLE_EVERY_S)
        self.idle_w = None if None in levels else median(levels)
        self.readings = self.failed = 0
        self.reason = None

    def power_w(self) -> float | None:
        """What the module takes, or None: a sum without one rail would be too small."""
        self.readings += 1
        if self._unknown:
            self.failed += 1
            self.reason = self._unknown
            return None
        total = 0
        for rail in self.added:
            paths = self.rails[rail]
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
        if self.energy_j <= 0:
            self.reason = f"the rails {', '.join(self.added)} showed no power"
            return None
        others = [rail for rail in self.rails if rail not in self.added]
        return Energy(rails=self.added, rails_not_added=others, energy_j=self.energy_j, idle_w=self.idle_w)
