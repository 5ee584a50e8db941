"""The processor: wall time, and the kernel's own high-water mark of the resident set."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from suite.catalogue.devices import Device
from suite.devices.backend import Board, board_id, given_name, memory_of, read_text
from suite.devices.cgroup import cpu_quota, throttled_us
from suite.devices.health import Health
from suite.devices.heap import keep_what_is_freed, return_what_is_freed
from suite.devices.identity import identify
from suite.devices.waits import Waits, waits
from suite.records import Memory

THREADS_VARIABLE = "TEXT3D_THREADS"


def threads(root: Path = Path("/")) -> int:
    """Threads that torch may use: the cores this process may run on, no more than its container's quota pays for
    (threads beyond it are stopped in mid-stride), or TEXT3D_THREADS."""
    if given := os.environ.get(THREADS_VARIABLE):
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return cores if quota is None else min(cores, max(1, int(quota)))


@dataclass
class Cpu:
    device: Device
    root: Path = Path("/")

    def find_board(self) -> Board:
        chip = _chip_name(self.root) or platform.processor() or platform.machine()
        identity = identify(self.root)
        passing = None if given_name() else identity.passing
        kind = f"cpu {chip} passing" if passing else f"cpu {chip}"
        return Board(id=board_id(kind, identity.serial), chip=chip, driver=None, passing=passing)

    def torch_device(self):
        import torch

        torch.set_num_threads(threads())
        # The first operations load code pages and start threads, which is no model's memory or time.
        x = torch.randn(64, 64)
        for dtype in (torch.float32, torch.bfloat16):
            y = x.to(dtype)
            torch.nn.functional.gelu(torch.nn.functional.layer_norm(y @ y, (64,)))
            torch.nn.functional.scaled_dot_product_attention(y[None, None], y[None, None], y[None, None])
        return torch.device("cpu")

    def scoring_processes(self) -> int:
        """One a core: threads of one process wait for each other at every operation of a small network."""
        return threads(self.root)

    def synchronize(self) -> None:
        pass

    def memory_gauge(self) -> ResidentSet:
        return ResidentSet()

    def throttle_marks(self) -> dict[str, int]:
        """How long the container's CPU quota stopped us."""
        stopped = throttled_us(self.root)
        return {} if stopped is None else {"stopped by the CPU quota_us": stopped}

    def health(self) -> Health:
        return Health()

    def waits(self) -> Waits:
        return waits(self.root)

    def energy_meter(self) -> None:
        return None  # RAPL is closed to users by default; missing is null


def _chip_name(root: Path) -> str | None:
    """As the kernel names it. A virtual machine's name may stand for processors of many years ("AMD EPYC"), which
    differ in their instructions: one without a number has family and model behind it."""
    said: dict[str, str] = {}
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        said.setdefault(key.strip(), value.strip())
    name = said.get("model name") or said.get("Model")
    if name and "cpu family" in said and not any(c.isdigit() for c in name):
        return f"{name} (family {said['cpu family']}, model {said.get('model')})"
    return name


@dataclass
class ResidentSet:
    """This process's resident set. The kernel's high-water mark (VmHWM) misses nothing, unlike sampling; writing 5
    to clear_refs starts it anew (proc_pid_clear_refs(5)). Until the record, what is freed goes back to the system."""

    before: int = 0
    load_peak: int | None = None
    process_peak: int = 0

    def __post_init__(self) -> None:
        return_what_is_freed()
        self.before = _status_bytes("VmRSS")
        self.restart()  # a peak of before is not the model's

    def loaded(self) -> None:
        self.load_peak = self.peak_bytes()
        self.restart()

    def restart(self) -> None:
        self.process_peak = max(self.process_peak, _status_bytes("VmHWM"))
        with contextlib.suppress(
            OSError
        ):  # where the kernel forbids it, peaks are of the whole run: too high, never too low
            Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        return _status_bytes("VmHWM") - self.before

    def level_bytes(self) -> int:
        return _status_bytes("VmRSS") - self.before

    def record(self, stages: dict[str, int]) -> Memory | None:
        """The peaks in bytes. From here on what is freed is kept, as latency needs it."""
        highest = max(self.process_peak, _status_bytes("VmHWM"))
        memory = memory_of("process", self.peak_bytes(), self.load_peak, highest, stages)
        keep_what_is_freed()
        return memory


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")
