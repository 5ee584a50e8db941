"""Jetson modules: the board through the device tree, energy and throttling through sysfs.

Tried on recorded sysfs trees (tests/test_jetson.py), not on a real Orin yet. Memory is unified: torch's allocator
peak is reported and marked so, never GPU plus RAM.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from suite.catalogue.devices import Device
from suite.devices.backend import Board, NotHere, board_id, read_number, read_text
from suite.devices.cuda import AllocatorPeak, Cuda
from suite.devices.health import Health
from suite.devices.rails import RailMeter, find_hwmon, find_rails

HARMLESS_COOLERS = ("fan", "hot-surface-alert")  # they slow nothing down


@dataclass
class Jetson(Cuda):
    device: Device
    root: Path = Path("/")

    def find_board(self) -> Board:
        model = read_text(self.root / "proc/device-tree/model")
        if model is None or self.device.chip not in model:
            found = f"it is a {model}" if model else "it has no device tree"
            raise NotHere(f"this is no {self.device.title}: {found}")
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
        gpu = self._gpu()
        known = {
            "gpu": gpu and gpu / "max_freq",
            "cpu": self.root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
            "emc": self.root / "sys/kernel/debug/bpmp/debug/clk/emc/max_rate",
        }
        unit = {"gpu": 1e6, "cpu": 1e3, "emc": 1e6}
        found = {name: read_text(path) for name, path in known.items() if path is not None}
        numbers = {name: int(value) for name, value in found.items() if value and value.isdigit()}
        return " ".join(f"{name} {value / unit[name]:.0f} MHz" for name, value in numbers.items()) or None

    def _gpu(self) -> Path | None:
        """The GPU's folder of clocks. JetPack 6 says "gpu", 5 the name of the chip's GPU."""
        folder = self.root / "sys/class/devfreq"
        return next((p for name in ("gpu", "ga10b", "gv11b") for p in sorted(folder.glob(f"*{name}*"))), None)

    def torch_index(self) -> int:
        return 0  # a module has one GPU

    def memory_gauge(self) -> AllocatorPeak:
        return AllocatorPeak(kind="unified")

    def throttle_marks(self) -> dict[str, int]:
        """Over-current events so far."""
        folder = find_over_current(self.root)
        counters = sorted(folder.glob("oc*_event_cnt")) if folder else []
        return {path.name: count for path in counters if (count := read_number(path)) is not None}

    def health(self) -> Health:
        """Junction temperature, the GPU's clock and its limits, and what thermal management holds back."""
        gpu = self._gpu()
        clock, lowest, highest = (read_number(gpu / f"{n}_freq") if gpu else None for n in ("cur", "min", "max"))
        millidegrees = next(
            (read_number(zone / "temp") for zone in thermal(self.root, "thermal_zone*", "tj-thermal")), None
        )
        return Health(
            temperature_c=None if millidegrees is None else millidegrees / 1000,
            gpu_hz=clock,
            gpu_limit_hz=highest,
            pinned_hz=highest if lowest == highest else None,  # jetson_clocks sets both to the mode's limit
            slowing=tuple(
                read_text(cooler / "type") or cooler.name
                for cooler in thermal(self.root, "cooling_device*")
                if (read_number(cooler / "cur_state") or 0) > 0
                and not any(harmless in (read_text(cooler / "type") or "") for harmless in HARMLESS_COOLERS)
            ),
        )

    def energy_meter(self) -> RailMeter | None:
        rails = find_rails(self.root)
        return RailMeter(rails) if rails else None


def thermal(root: Path, pattern: str, kind: str | None = None) -> list[Path]:
    """Thermal zones or cooling devices, of one type if told (numbers move; JetPack 5 and 6 differ in capitals)."""
    folders = sorted((root / "sys/class/thermal").glob(pattern))
    return [folder for folder in folders if kind is None or (read_text(folder / "type") or "").lower() == kind]


def find_over_current(root: Path) -> Path | None:
    """The counters of over-current events: by name, since hwmon numbers move, else under their platform device."""
    events = sorted((root / "sys/devices/platform").glob("soctherm-oc-event/hwmon/hwmon*"))
    return find_hwmon(root, "soctherm_oc") or next(iter(events), None)
