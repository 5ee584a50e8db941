"""Jetson modules: the board through the device tree, energy and throttling through sysfs.

Tried on recorded sysfs trees (tests/test_jetson.py), not on a real Orin yet. Memory is unified: torch's allocator
peak is reported and marked so, never GPU plus RAM.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from suite.devices.backend import Board, NotHere, board_id, read_text
from suite.devices.catalogue import Device
from suite.devices.cuda import AllocatorPeak, Cuda
from suite.records import Energy

SAMPLE_EVERY_S = 0.05


@dataclass
class Jetson(Cuda):
    device: Device
    root: Path = Path("/")

    def find_board(self) -> Board:
        model = read_text(self.root / "proc/device-tree/model")
        if model is None or self.device.chip not in model:
            found = f"it is a {model}" if model else "it has no device tree"
            raise NotHere(f"this is no {self.device.title}: {found}")
        self.index = 0
        return Board(
            id=board_id(model, read_text(self.root / "proc/device-tree/serial-number") or "unknown"),
            chip=model,
            driver=(read_text(self.root / "etc/nv_tegra_release") or "").split(", GCID")[0].lstrip("# ") or None,
            power_mode=self._power_mode(),
            clocks=self._clocks(),
        )

    def _power_mode(self) -> str | None:
        """The active mode's name, asked of nvpmodel since ids depend on module and JetPack."""
        try:
            answer = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=5).stdout
        except (OSError, subprocess.TimeoutExpired):
            return None
        return (re.search(r"NV Power Mode:\s*(\S+)", answer) or [None, None])[1]

    def _clocks(self) -> str | None:
        """Upper limits of GPU, processor and memory clocks in MHz: a capped mode shows here."""
        known = {
            # JetPack 6 says "gpu", 5 the name of the chip's GPU.
            "gpu": next(
                (
                    p
                    for name in ("gpu", "ga10b", "gv11b")
                    for p in (self.root / "sys/class/devfreq").glob(f"*{name}*/max_freq")
                ),
                None,
            ),
            "cpu": self.root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
            "emc": self.root / "sys/kernel/debug/bpmp/debug/clk/emc/max_rate",
        }
        unit = {"gpu": 1e6, "cpu": 1e3, "emc": 1e6}
        found = {name: read_text(path) for name, path in known.items() if path is not None}
        numbers = {name: int(value) for name, value in found.items() if value and value.isdigit()}
        return " ".join(f"{name} {value / unit[name]:.0f} MHz" for name, value in numbers.items()) or None

    def memory_gauge(self) -> AllocatorPeak:
        return AllocatorPeak(kind="unified")

    def throttle_marks(self) -> dict[str, int]:
        """Over-current events so far (hwmon numbers move, so it is found by name)."""
        folder = find_hwmon(self.root, "soctherm_oc")
        counters = sorted(folder.glob("oc*_event_cnt")) if folder else []
        return {path.name: int(text) for path in counters if (text := read_text(path))}

    def energy_meter(self) -> RailMeter | None:
        rails = find_rails(self.root)
        return RailMeter(rails) if rails else None


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
    """Integrates the rails' power by the trapezoid rule in a thread, from creation to `read`."""

    rails: dict[str, tuple[Path, Path]]
    energy_j: float = 0.0
    unreadable: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.idle_w = self.power_w()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def power_w(self) -> float:
        readings = [(read_text(mv), read_text(ma)) for mv, ma in self.rails.values()]
        if any(mv is None or ma is None for mv, ma in readings):
            self.unreadable = True  # a sum without one rail would be too small
            return 0.0
        return sum(int(mv) * int(ma) for mv, ma in readings) / 1e6

    def _sample(self) -> None:
        then, power = time.monotonic(), self.power_w()
        running = True
        while running:
            running = not self._stop.wait(SAMPLE_EVERY_S)
            now, next_power = time.monotonic(), self.power_w()
            self.energy_j += (now - then) * (power + next_power) / 2
            then, power = now, next_power

    def read(self) -> Energy | None:
        self._stop.set()
        self._thread.join()
        if self.unreadable:
            return None
        return Energy(rails=list(self.rails), energy_j=self.energy_j, idle_w=self.idle_w)
