"""Jetson modules: the board through the device tree, energy and throttling through sysfs.

Tried on recorded sysfs trees (tests/test_jetson.py), not on a real Orin yet. Memory is unified: torch's allocator
peak is reported and marked so, never GPU plus RAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.catalogue.devices import Device
from suite.devices.backend import Board, board_id, given_name, read_number, read_text
from suite.devices.clocks import clocks, gpu_folder
from suite.devices.cuda import AllocatorPeak, Cuda
from suite.devices.device_tree import RELEASE, chip_name, serial_number
from suite.devices.health import Health
from suite.devices.power_mode import power_mode
from suite.devices.rails import RailMeter, find_hwmon, find_rails

BOOT_ID = "proc/sys/kernel/random/boot_id"
HARMLESS_COOLERS = ("fan", "hot-surface-alert")  # they slow nothing down


@dataclass
class Jetson(Cuda):
    device: Device
    root: Path = Path("/")

    def find_board(self) -> Board:
        chip = chip_name(self.device, self.root)
        serial = serial_number(self.root)
        # One module is one board whatever JetPack calls its kit: by its serial number alone.
        name = self.device.title if serial else f"{self.device.title} passing"
        return Board(
            id=board_id(name, serial or read_text(self.root / BOOT_ID) or "unknown"),
            chip=chip,
            driver=(read_text(self.root / RELEASE) or "").split(", GCID")[0].lstrip("# ") or None,
            power_mode=power_mode(self.root),
            clocks=clocks(self.root),
            passing=None if serial or given_name() else "no serial number in its device tree",
        )

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
        gpu = gpu_folder(self.root)
        clock, lowest, highest = (read_number(gpu / f"{n}_freq") if gpu else None for n in ("cur", "min", "max"))
        zone = next(iter(thermal(self.root, "thermal_zone*", "tj-thermal")), None)
        millidegrees = read_number(zone / "temp") if zone else None
        return Health(
            temperature_c=None if millidegrees is None else millidegrees / 1000,
            slows_at_c=slows_at_c(zone) if zone else None,
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

    def other_processes(self) -> None:
        return None  # NVML lists none of an integrated GPU; the kernel's own list is for root

    def energy_meter(self) -> RailMeter | None:
        rails = find_rails(self.root)
        return RailMeter(rails) if rails else None


def slows_at_c(zone: Path) -> float | None:
    """The lowest trip point at which the kernel slows parts down (kind "passive"); 0 is one that is switched off."""
    kinds = ((path, read_text(path)) for path in zone.glob("trip_point_*_type"))
    passive = [read_number(path.with_name(path.name.replace("_type", "_temp"))) for path, k in kinds if k == "passive"]
    return min((trip / 1000 for trip in passive if trip and trip > 0), default=None)


def thermal(root: Path, pattern: str, kind: str | None = None) -> list[Path]:
    """Thermal zones or cooling devices, of one type if told (numbers move; JetPack 5 and 6 differ in capitals)."""
    folders = sorted((root / "sys/class/thermal").glob(pattern))
    return [folder for folder in folders if kind is None or (read_text(folder / "type") or "").lower() == kind]


def find_over_current(root: Path) -> Path | None:
    """The counters of over-current events: by name, since hwmon numbers move, else under their platform device."""
    events = sorted((root / "sys/devices/platform").glob("soctherm-oc-event/hwmon/hwmon*"))
    return find_hwmon(root, "soctherm_oc") or next(iter(events), None)
