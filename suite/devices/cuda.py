"""NVIDIA GPUs with their own memory: the board through NVML, time and memory through torch.

Not run on a real T4 or H100 yet: `docs/devices.md` says what was tried where.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.devices.backend import Board, NotHere, board_id
from suite.devices.catalogue import Device
from suite.records import Energy, Memory


@dataclass
class Cuda:
    device: Device
    index: int | None = None  # of the GPU that matches the device's chip

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
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                    names.append(_text(pynvml.nvmlDeviceGetName(handle)))
                except pynvml.NVMLError as error:
                    names.append(f"one that does not answer ({error})")
                    continue
                if self.device.chip in names[-1]:
                    self.index = index
                    return Board(
                        id=board_id(names[-1], _text(pynvml.nvmlDeviceGetUUID(handle))),
                        chip=names[-1],
                        driver=_asked(pynvml, lambda: _text(pynvml.nvmlSystemGetDriverVersion())),
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
        except pynvml.NVMLError as error:
            raise NotHere(f"this is no {self.device.title}: NVML does not say what is here ({error})") from None
        finally:
            pynvml.nvmlShutdown()

    def torch_device(self):
        import torch

        if self.index is None:
            self.find_board()
        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} sees no CUDA device; install a CUDA build")
        device = torch.device("cuda", self.index or 0)
        torch.cuda.set_device(device)
        # The reference is float32 as it says: TF32 would round products to ten bits.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        # A wheel without this chip's code fails here, at the first kernel, not at import.
        (torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).sum().item()
        return device

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def memory_gauge(self) -> AllocatorPeak:
        return AllocatorPeak()

    def energy_meter(self) -> NvmlEnergy | None:
        return NvmlEnergy.start(self.index or 0)

    def throttle_marks(self) -> dict[str, int]:
        """Microseconds of thermal or power slowdown so far, where the driver counts them."""
        import pynvml

        marks = {}
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(self.index or 0)
            for name, policy in (
                ("power", pynvml.NVML_PERF_POLICY_POWER),
                ("thermal", pynvml.NVML_PERF_POLICY_THERMAL),
            ):
                marks[name] = pynvml.nvmlDeviceGetViolationStatus(handle, policy).violationTime // 1000
        except pynvml.NVMLError:
            pass
        return marks


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _asked(pynvml, question) -> str | None:
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

    def record(self, stages: dict[str, int]) -> Memory:
        import torch

        return Memory(
            kind=self.kind,
            peak_memory_bytes=max(stages.values()) if stages else self.peak_bytes(),
            load_peak_memory_bytes=self.load_peak,
            process_peak_memory_bytes=max(self.most_reserved, torch.cuda.max_memory_reserved()),
            stage_peak_memory_bytes=stages,
        )


@dataclass
class NvmlEnergy:
    """The GPU's own energy counter (Volta and later), in millijoules."""

    index: int
    started_mj: int = field(default=0)

    @classmethod
    def start(cls, index: int) -> NvmlEnergy | None:
        import pynvml

        try:
            pynvml.nvmlInit()
            return cls(index, pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError:
            return None

    def read(self) -> Energy:
        import pynvml

        now = pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(self.index))
        return Energy(rails=["GPU board"], energy_j=(now - self.started_mj) / 1000)
