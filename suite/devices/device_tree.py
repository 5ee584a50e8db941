"""Which Jetson module is this? By the device tree that the boot loader hands to the kernel.

The model's wording differs by JetPack and by kit ("Jetson AGX Orin Developer Kit", "NVIDIA Orin Jetson-Small Developer
Kit"); `compatible` names the module's part number and stays (NVIDIA, Jetson Module Naming and Part Numbers).
"""

from __future__ import annotations

import re
from pathlib import Path

from suite.catalogue.devices import Device
from suite.devices.backend import NotHere, read_text

# Containers see the tree in the first places only where it is mounted into them; jetson-containers hands the model over
# in the last.
MODEL = ("proc/device-tree/model", "sys/firmware/devicetree/base/model", "tmp/nv_jetson_model")
COMPATIBLE = ("proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible")
SERIAL = ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number")
RELEASE = "etc/nv_tegra_release"
FAMILY = "sys/devices/soc0/family"  # "Tegra" on every Jetson; containers see it
MOUNT = "start it with -v /proc/device-tree:/proc/device-tree:ro (docs/jetson.md)"


def serial_number(root: Path) -> str | None:
    return _first(root, SERIAL)


def chip_name(device: Device, root: Path) -> str:
    """The model, in one wording whatever the JetPack. NotHere, with what was found, on another module."""
    model, compatible = _first(root, MODEL), _first(root, COMPATIBLE) or ""
    if model is not None and device.chip is not None and device.chip.lower() in model.lower():
        return model if model.startswith("NVIDIA ") else f"NVIDIA {model}"
    if any(re.search(rf"\b{re.escape(module)}\b", compatible) for module in device.modules):
        return device.title
    raise NotHere(f"this is no {device.title}: {_found(model, compatible, root)}")


def _found(model: str | None, compatible: str, root: Path) -> str:
    if model is not None:
        return f"it is a {model}"
    if compatible:
        return f"its device tree is compatible with {', '.join(_words(compatible))}"
    if folder := next((name for name in MODEL if (root / name).is_dir()), None):
        return f"/{folder} is a folder and no file: a container was started before there was one; {MOUNT}"
    if (root / RELEASE).exists() or read_text(root / FAMILY) == "Tegra":
        return f"this is a Jetson whose device tree is hidden by a container; {MOUNT}"
    return "it has no device tree"


def _first(root: Path, names: tuple[str, ...]) -> str | None:
    return next((text for name in names if (text := read_text(root / name)) is not None), None)


def _words(compatible: str) -> list[str]:
    return [word for word in compatible.split("\0") if word]
