"""The devices, one literal entry each. Without torch; backends are named as "module:class"."""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.names import unknown


@dataclass(frozen=True, kw_only=True)
class Device:
    """A kind of machine. Its backend finds the board, synchronizes, and reads memory, energy and health."""

    name: str  # also the pytest mark
    title: str
    backend: str  # "module:class", called as class(device)
    chip: str | None = None  # what the driver calls it; a part of the name is enough
    latency_limit: str = "latency_s"  # budgets in seconds, or as a ratio to the reference of the same session
    extrapolates: bool = False  # an object of a full-size model takes so long that a few evaluations must tell it
    peaks: dict[str, float] = field(default_factory=dict)  # dense, nominal: tflops_fp32, ..., gb_per_s
    source: str


DEVICES = {
    device.name: device
    for device in (
        Device(
            name="cpu",
            title="this machine's processor",
            backend="suite.devices.cpu:Cpu",
            latency_limit="latency_ratio",
            extrapolates=True,
            source="any x86-64 or Arm machine",
        ),
        Device(
            name="t4",
            title="NVIDIA T4",
            backend="suite.devices.cuda:Cuda",
            chip="Tesla T4",
            peaks={"tflops_fp32": 8.1, "tflops_fp16": 65.0, "tops_int8": 130.0, "gb_per_s": 320.0},
            source="NVIDIA T4 data sheet",
        ),
        Device(
            name="orin",
            title="NVIDIA Jetson AGX Orin",
            backend="suite.devices.jetson:Jetson",
            chip="AGX Orin",
            peaks={"tflops_fp32": 5.3, "tflops_fp16": 42.6, "tops_int8": 85.0, "gb_per_s": 204.8},
            source="Jetson AGX Orin data sheet, 64 GB module at MAXN",
        ),
        Device(
            name="h100",
            title="NVIDIA H100",
            backend="suite.devices.cuda:Cuda",
            chip="H100",
            peaks={"tflops_fp32": 66.9, "tflops_fp16": 989.0, "tops_int8": 1979.0, "gb_per_s": 3350.0},
            source="NVIDIA H100 data sheet, SXM",
        ),
    )
}


def find_device(name: str) -> Device:
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]
