"""NVIDIA GPUs with their own memory: the board through NVML, time and memory through torch.

NVML and torch number cards in orders of their own, so a card is known by its UUID. Not run on a real T4 or H100 yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from suite.catalogue.devices import Device
from suite.devices.backend import Board, NotHere, board_id, memory_of
from suite.devices.health import Health
from suite.devices.visible import Unresolved, bare, pci_place, text, visible_handles
from suite.records import Energy, Memory

T = TypeVar("T")


@dataclass
class Cuda:
    device: Device
    uuid: str | None = None  # of the GPU that matches the device's chip

    def find_board(self) -> Board:
        try:
            import pynvml
        except ImportError:
            raise NotHere(f"this is no {self.device.title}: nvidia-ml-py (pynvml) is not installed") from None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NotHere(f"this is no {self.device.title}: no NVIDIA driver answers ({error})") from None
        try:
            names = []
            for handle in visible_handles(pynvml, self.device.chip):
                try:
                    names.append(text(pynvml.nvmlDeviceGetName(handle)))
                    if self.device.chip not in names[-1]:
                        continue
                    self.uuid = text(pynvml.nvmlDeviceGetUUID(handle))
                except pynvml.NVMLError as error:
                    names.append(f"one that does not answer ({error})")
                    continue
                return Board(
                    id=board_id(names[-1], self.uuid),
                    chip=names[-1],
                    driver=_asked(pynvml, lambda: text(pynvml.nvmlSystemGetDriverVersion())),
                    power_mode=_asked(
                        pynvml, lambda: f"{pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f} W limit"
                    ),
                    clocks=_asked(
                        pynvml,
                        lambda: (
                            f"graphics max {pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_GRAPHICS)} MHz"
                        ),
                    ),
                )
            raise NotHere(f"this is no {self.device.title}: the GPUs here are {', '.join(names) or 'none'}")
        except Unresolved as reason:
            raise NotHere(f"this is no {self.device.title} for certain: {reason}") from None
        except pynvml.NVMLError as error:
            raise NotHere(f"this is no {self.device.title}: NVML does not say what is here ({error})") from None
        finally:
            pynvml.nvmlShutdown()

    def scoring_processes(self) -> int:
        return 1  # they would share the GPU and its memory

    def torch_device(self):
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} sees no CUDA device; install a CUDA build")
        device = torch.device("cuda", self.torch_index())
        torch.cuda.set_device(device)
        # The reference is float32 as it says: TF32 would round products to ten bits.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        # A wheel without this chip's code fails here, at the first kernel, not at import.
        (torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).sum().item()
        return device

    def torch_index(self) -> int:
        """Torch's number of the board: by UUID, or by its place on the PCI bus (a slice of a card has a UUID of its
        own). Raises rather than measure another card."""
        import pynvml
        import torch

        handle = self._handle(pynvml)
        properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        for index, found in enumerate(properties):
            if bare(str(getattr(found, "uuid", ""))) == bare(self.uuid):
                return index
        place = pci_place(pynvml, handle)
        for index, found in enumerate(properties):
            if place and place == tuple(getattr(found, f"pci_{n}_id", None) for n in ("domain", "bus", "device")):
                return index
        raise RuntimeError(
            f"torch does not see the {self.device.title} {self.uuid}, but {', '.join(p.name for p in properties)}; "
            "name the card in CUDA_VISIBLE_DEVICES by its UUID"
        )

    def _handle(self, pynvml):
        """NVML's handle of the board, NVML left open."""
        if self.uuid is None:
            self.find_board()
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(self.uuid)

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def memory_gauge(self) -> AllocatorPeak:
        return AllocatorPeak()

    def energy_meter(self) -> NvmlEnergy | None:
        import pynvml

        try:
            handle = self._handle(pynvml)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except pynvml.NVMLError:
            return None
        return NvmlEnergy(handle)

    def throttle_marks(self) -> dict[str, int]:
        """Microseconds of thermal or power slowdown so far, where the driver counts them."""
        import pynvml

        marks = {}
        try:
            handle = self._handle(pynvml)
            for name, policy in (
                ("power_us", pynvml.NVML_PERF_POLICY_POWER),
                ("thermal_us", pynvml.NVML_PERF_POLICY_THERMAL),
            ):
                marks[name] = pynvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime // 1000
        except pynvml.NVMLError:
            pass
        return marks

    def health(self) -> Health:
        """Temperature, where it slows down, and the clock, as the driver tells them; counters tell the rest."""
        import pynvml

        handle = _asked(pynvml, lambda: self._handle(pynvml))
        if handle is None:
            return Health()
        degrees = _asked(pynvml, lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
        slows = pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        limit = _asked(pynvml, lambda: pynvml.nvmlDeviceGetTemperatureThreshold(handle, slows))
        mhz = _asked(pynvml, lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_GRAPHICS))
        return Health(
            temperature_c=None if degrees is None else float(degrees),
            slows_at_c=float(limit) if limit else None,
            gpu_hz=None if mhz is None else mhz * 1_000_000,
        )

    def other_processes(self) -> list[str] | None:
        import pynvml

        found = _asked(pynvml, lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle(pynvml)))
        if found is None:
            return None
        return [f"process {process.pid}" for process in found if process.pid != os.getpid()]


def _asked(pynvml, question: Callable[[], T]) -> T | None:
    """What the driver says, or None where it keeps that to itself (containers, some chips)."""
    try:
        return question()
    except pynvml.NVMLError:
        return None


@dataclass
class AllocatorPeak:
    """torch's allocator: what tensors took, without the CUDA context."""

    kind: str = "allocator"
    load_peak: int | None = None
    most_reserved: int = 0  # torch forgets it with each reset

    def __post_init__(self) -> None:
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self.before = torch.cuda.memory_allocated()

    def loaded(self) -> None:
        self.load_peak = self.peak_bytes()
        self.restart()

    def restart(self) -> None:
        import torch

        self.most_reserved = max(self.most_reserved, torch.cuda.max_memory_reserved())
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated() - self.before

    def level_bytes(self) -> int:
        import torch

        return torch.cuda.memory_allocated() - self.before

    def record(self, stages: dict[str, int]) -> Memory | None:
        import torch

        highest = max(self.most_reserved, torch.cuda.max_memory_reserved())
        return memory_of(self.kind, self.peak_bytes(), self.load_peak, highest, stages)


@dataclass
class NvmlEnergy:
    """The GPU's own energy counter (Volta and later), in millijoules. Only read before and after."""

    handle: object
    reason: str | None = None
    started_mj: int | None = None

    def start(self) -> None:
        self.started_mj = self._read()

    def read(self) -> Energy | None:
        now = self._read()
        if now is None or self.started_mj is None:
            return None
        if now <= self.started_mj:  # the driver was reloaded, or the counter has not moved
            self.reason = f"NVML's energy counter went from {self.started_mj} to {now} mJ"
            return None
        return Energy(rails=["GPU board"], energy_j=(now - self.started_mj) / 1000)

    def _read(self) -> int | None:
        import pynvml

        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
        except pynvml.NVMLError as error:
            self.reason = f"NVML's energy counter does not answer ({error})"
            return None
