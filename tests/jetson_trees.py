"""Sysfs trees of Jetson modules as they were recorded, the fixtures `orin` and `no_board_variable_and_no_nvpmodel`, and
the backend on such a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.catalogue.devices import DEVICES
from suite.devices.jetson import Jetson

ORIN = "NVIDIA Jetson AGX Orin Developer Kit\0"
SERIAL = "1421622012345\0"
RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def hwmon(number: int, name: str, files: dict[str, object]) -> dict[str, str]:
    folder = f"sys/class/hwmon/hwmon{number}"
    return {f"{folder}/name": f"{name}\n"} | {f"{folder}/{file}": f"{content}\n" for file, content in files.items()}


def channels(*rails: tuple[str, int, int]) -> dict[str, object]:
    """An ina3221: labels, millivolts and milliamperes of its channels, and the sum that it lists beside them."""
    found: dict[str, object] = {"in7_label": "sum of shunt voltages", "in7_input": 99, "curr7_input": 9999}
    for k, (label, mv, ma) in enumerate(rails, start=1):
        found |= {f"in{k}_label": label, f"in{k}_input": mv, f"curr{k}_input": ma, f"in{k + 3}_input": 1}
    return found


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """A module as JetPack 6 shows it; hwmon numbers as they come after one of many boots."""
    return write(
        tmp_path,
        {
            "proc/device-tree/model": ORIN,
            "proc/device-tree/serial-number": SERIAL,
            "etc/nv_tegra_release": RELEASE,
            "sys/class/devfreq/17000000.gpu/max_freq": "1300500000\n",
            "sys/class/devfreq/15340000.vic/max_freq": "729600000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2201600\n",
        }
        | hwmon(0, "tmp451", {"temp1_input": 40000})
        | hwmon(3, "ina3221", channels(("VDDQ_VDD2_1V8AO", 4992, 300), ("NC", 0, 0)))
        | hwmon(2, "soctherm_oc", {"oc1_event_cnt": 0, "oc2_event_cnt": 3, "oc3_event_cnt": 0, "oc1_throt_en": 1})
        | hwmon(
            10, "ina3221", channels(("VDD_GPU_SOC", 20000, 500), ("VDD_CPU_CV", 20000, 100), ("VIN_SYS_5V0", 5000, 800))
        ),
    )


@pytest.fixture(autouse=True)
def no_board_variable_and_no_nvpmodel(monkeypatch, tmp_path_factory):
    monkeypatch.delenv("TEXT3D_BOARD", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


def device(root: Path) -> Jetson:
    return Jetson(DEVICES["orin"], root=root)
