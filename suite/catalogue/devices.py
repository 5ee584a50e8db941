"""The devices, one literal entry each. Without torch; backends are named as "module:class"."""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.names import unknown


@dataclass(frozen=True, kw_only=True)
class Device:
    """A kind of machine. Its backend finds the board, synchronizes, and reads memory, energy and health."""

    name: str  # also the pytest mark
    title: str
    kind: str  # what its recipes are for: "cpu", "cuda", or one of your own
    backend: str  # "module:class", called as class(device)
    launcher: str = "suite.worker.launching:ForkServer"  # "module:class": how its workers come to life
    chip: str | None = None  # what the driver calls it; a part of the name is enough
    modules: tuple[str, ...] = ()  # part numbers of a Jetson's modules, for kits that call themselves otherwise
    limits_travel: bool = False  # held on any machine of this kind, latency as a ratio to the same session's reference
    extrapolates: bool = False  # an object of a full-size model takes so long that a few evaluations must tell it
    lacks: dict[str, str] = field(default_factory=dict)  # what a recipe may need -> why it is not there
    source: str


DEVICES = {
    device.name: device
    for device in (
        Device(
            name="cpu",
            title="this machine's processor",
            kind="cpu",
            backend="suite.devices.cpu:Cpu",
            limits_travel=True,
            extrapolates=True,
            source="any x86-64 or Arm machine",
        ),
        Device(
            name="t4",
            title="NVIDIA T4",
            kind="cuda",
            backend="suite.devices.cuda:Cuda",
            chip="Tesla T4",
            lacks={"bfloat16": "Turing has no bfloat16 arithmetic"},
            source="NVIDIA T4 data sheet",
        ),
        Device(
            name="orin",
            title="NVIDIA Jetson AGX Orin",
            kind="cuda",
            backend="suite.devices.jetson:Jetson",
            chip="AGX Orin",
            modules=("p3701",),
            source="Jetson AGX Orin data sheet, 64 GB module at MAXN",
        ),
        Device(
            name="h100",
            title="NVIDIA H100",
            kind="cuda",
            backend="suite.devices.cuda:Cuda",
            chip="H100",
            source="NVIDIA H100 data sheet, SXM",
        ),
    )
}


def find_device(name: str) -> Device:
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    return DEVICES[name]
