"""Boards: Jetson modules from recorded sysfs trees, NVIDIA cards from a made NVML."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path

import pytest

from suite.devices import jetson
from suite.devices.backend import NotHere, backend_of, read_text, throttled
from suite.devices.catalogue import DEVICES
from suite.devices.cuda import Cuda
from suite.devices.jetson import Jetson, RailMeter, find_rails

ORIN = "NVIDIA Jetson AGX Orin Developer Kit\0"
SERIAL = "1421622012345\0"
RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
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


# The board.


def test_an_orin_is_known_by_its_device_tree(orin):
    board = device(orin).find_board()
    assert board.chip == "NVIDIA Jetson AGX Orin Developer Kit"
    assert board.driver == "R36 (release), REVISION: 4.3"
    assert board.id.startswith("nvidia-jetson-agx-orin-developer-kit-")
    assert "\0" not in board.id + board.chip
    assert board.clocks == "gpu 1300 MHz cpu 2202 MHz"


def test_boards_of_one_type_differ_by_their_serial_and_the_serial_itself_is_not_shown(orin):
    first = device(orin).find_board().id
    assert device(orin).find_board().id == first
    assert SERIAL.strip("\0") not in first
    write(orin, {"proc/device-tree/serial-number": "1421622054321\0"})
    assert device(orin).find_board().id != first


def test_a_board_can_be_named(orin, monkeypatch):
    monkeypatch.setenv("TEXT3D_BOARD", "Lab Orin #2")
    assert device(orin).find_board().id == "lab-orin-2"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, "this is no NVIDIA Jetson AGX Orin: it has no device tree"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0", "it is a NVIDIA Jetson Orin Nano"),
        ("NVIDIA Jetson AGX Xavier\0", "it is a NVIDIA Jetson AGX Xavier"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", "it is a Raspberry Pi 5"),
    ],
)
def test_another_machine_is_not_here_for_a_stated_reason(tmp_path, model, reason):
    root = write(tmp_path, {"proc/device-tree/model": model} if model else {})
    with pytest.raises(NotHere) as caught:
        device(root).find_board()
    assert reason in str(caught.value) and "\0" not in str(caught.value)


def test_a_bare_module_without_serial_release_and_clocks_is_still_a_board(tmp_path):
    board = device(write(tmp_path, {"proc/device-tree/model": ORIN})).find_board()
    assert (board.driver, board.power_mode, board.clocks) == (None, None, None)


def test_clocks_that_read_as_no_number_are_left_out(orin):
    """Read at pytest's start: what a driver writes there must not stop it."""
    write(orin, {"sys/class/devfreq/17000000.gpu/max_freq": "<unknown>\n"})
    assert device(orin).find_board().clocks == "cpu 2202 MHz"


def test_the_gpus_clock_is_found_on_jetpack_5_as_well(tmp_path):
    root = write(
        tmp_path, {"proc/device-tree/model": ORIN, "sys/class/devfreq/17000000.ga10b/max_freq": "1300500000\n"}
    )
    assert device(root).find_board().clocks == "gpu 1300 MHz"


def test_the_memory_clock_of_a_board_is_its_limit_and_not_what_runs_just_now(orin):
    """The fingerprint must be equal from run to run."""
    emc = "sys/kernel/debug/bpmp/debug/clk/emc"
    write(orin, {f"{emc}/rate": "204000000\n", f"{emc}/max_rate": "3199000000\n"})
    idle = device(orin).find_board().clocks
    write(orin, {f"{emc}/rate": "3199000000\n"})
    assert device(orin).find_board().clocks == idle
    assert "emc 3199 MHz" in idle


def test_the_power_mode_is_asked_of_nvpmodel(orin, monkeypatch, tmp_path):
    script = tmp_path / "bin" / "nvpmodel"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\n[ "$1" = -q ] && printf "NV Fan Mode:quiet\\nNV Power Mode: MODE_30W\\n2\\n"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    assert device(orin).find_board().power_mode == "MODE_30W"
    script.write_text("#!/bin/sh\necho 'NVPM ERROR: not root' >&2; exit 1\n")
    assert device(orin).find_board().power_mode is None


def test_device_tree_strings_lose_their_trailing_zeros_and_spaces(tmp_path):
    (tmp_path / "x").write_bytes(b" a b \n\0\0")
    assert read_text(tmp_path / "x") == "a b"
    (tmp_path / "x").write_bytes(b"\0\n")
    assert read_text(tmp_path / "x") is None
    assert read_text(tmp_path / "absent") is None


def test_the_catalogue_names_the_jetson_backend_for_orin():
    assert isinstance(backend_of(DEVICES["orin"]), Jetson)


# Rails and energy.


def test_rails_are_found_by_label_on_whatever_number_and_the_sum_is_no_rail(orin):
    rails = find_rails(orin)
    assert set(rails) - {"NC"} == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    assert rails["VDD_GPU_SOC"][0].parent.name == "hwmon10"
    assert rails["VDDQ_VDD2_1V8AO"][0].parent.name == "hwmon3"


def test_a_channel_without_connection_is_no_rail(orin):
    assert "NC" not in find_rails(orin)


def test_power_is_the_sum_over_the_rails_in_watts(orin):
    assert meter_of(orin).power_w() == pytest.approx(20 * 0.5 + 20 * 0.1 + 5 * 0.8 + 4.992 * 0.3)


def meter_of(root: Path) -> RailMeter:
    """A meter whose thread is not started."""
    meter = object.__new__(RailMeter)
    meter.rails, meter.energy_j = find_rails(root), 0.0
    return meter


class Script:
    """In place of the meter's event: moves the clock and the rails, one entry a sample, then says stop."""

    def __init__(self, root: Path, clock: list[float], feed: list[tuple[float, int]]):
        self.root, self.clock, self.feed = root, clock, iter(feed)
        self.left = len(feed)

    def wait(self, seconds: float) -> bool:
        passed, milliamperes = next(self.feed)
        self.clock[0] += passed
        write(self.root, {"sys/class/hwmon/hwmon1/curr1_input": f"{milliamperes}\n"})
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize(
    ("feed", "joules"),
    [
        ([(1.0, 1000)] * 3, 30.0),  # 10 W for 3 s
        ([(1.0, 2000), (1.0, 3000)], 15.0 + 25.0),  # a ramp from 10 to 20 to 30 W: trapezoids
        ([(0.5, 1000), (2.0, 3000)], 5.0 + 40.0),  # samples need not come evenly
        ([(1.0, 0)], 5.0),
    ],
)
def test_energy_is_the_integral_of_power_by_the_trapezoid_rule(tmp_path, monkeypatch, feed, joules):
    root = write(tmp_path, hwmon(1, "ina3221", channels(("VDD_GPU_SOC", 10000, 1000))))
    clock = [100.0]
    monkeypatch.setattr(jetson, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    meter = meter_of(root)
    meter._stop = Script(root, clock, feed)
    meter._sample()
    assert meter.energy_j == pytest.approx(joules)


def test_a_running_meter_follows_the_rails_and_ends_when_it_is_read(orin):
    import time

    threads = threading.active_count()
    meter = device(orin).energy_meter()
    before = meter.power_w()
    started = time.monotonic()
    time.sleep(0.15)
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "2500\n"})  # GPU from 10 W to 50 W
    time.sleep(0.15)
    energy = meter.read()
    seconds = time.monotonic() - started
    assert seconds * before < energy.energy_j < seconds * (before + 40)
    assert energy.idle_w == pytest.approx(before)
    assert "VDD_GPU_SOC" in energy.rails
    assert threading.active_count() == threads


def test_without_rails_energy_is_not_known_rather_than_zero(tmp_path):
    assert device(write(tmp_path, {"proc/device-tree/model": ORIN})).energy_meter() is None


def test_a_rail_that_cannot_be_read_makes_energy_not_known_rather_than_too_small(orin):
    for name in ("in1_input", "in2_input", "in3_input"):
        write(orin, {f"sys/class/hwmon/hwmon10/{name}": ""})
    meter = device(orin).energy_meter()
    assert meter is None or meter.read() is None


# Throttling.


def test_over_current_counters_are_found_by_name_and_their_growth_is_said(orin):
    before = device(orin).throttle_marks()
    assert before == {"oc1_event_cnt": 0, "oc2_event_cnt": 3, "oc3_event_cnt": 0}
    assert throttled(before, device(orin).throttle_marks()) is None
    write(orin, {"sys/class/hwmon/hwmon2/oc2_event_cnt": "5\n", "sys/class/hwmon/hwmon2/oc3_event_cnt": "1\n"})
    reason = throttled(before, device(orin).throttle_marks())
    assert "oc2_event_cnt +2" in reason and "oc3_event_cnt +1" in reason and "oc1" not in reason


def test_without_counters_nothing_is_claimed(tmp_path):
    assert device(tmp_path).throttle_marks() == {}
    assert throttled({}, {"oc1_event_cnt": 4}) is None
    assert throttled({"oc1_event_cnt": 4}, {}) is None


# NVIDIA cards, through a made NVML.


class NVMLError(Exception):
    pass


def nvml(names: list[str], *, driver: bool = True, unsupported: tuple[str, ...] = (), as_bytes: bool = False):
    """A pynvml module with these cards; `unsupported` functions raise as the driver does."""
    module = types.ModuleType("pynvml")
    module.NVMLError, module.NVML_CLOCK_GRAPHICS = NVMLError, 0
    module.NVML_PERF_POLICY_POWER, module.NVML_PERF_POLICY_THERMAL = 0, 1
    module.open = 0

    def init():
        if not driver:
            raise NVMLError("Driver Not Loaded")
        module.open += 1

    def shutdown():
        module.open -= 1

    text = (lambda value: value.encode()) if as_bytes else (lambda value: value)
    functions = {
        "nvmlInit": init,
        "nvmlShutdown": shutdown,
        "nvmlDeviceGetCount": lambda: len(names),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: text(names[handle]),
        "nvmlDeviceGetUUID": lambda handle: text(f"GPU-{handle}"),
        "nvmlSystemGetDriverVersion": lambda: text("570.86.15"),
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 70_000,
        "nvmlDeviceGetMaxClockInfo": lambda handle, clock: 1590,
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 1_000 * handle,
    }

    def refuse(*_):
        raise NVMLError("Not Supported")

    for name, function in functions.items():
        setattr(module, name, refuse if name in unsupported else function)
    return module


def card(monkeypatch, module, device: str = "t4") -> Cuda:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return Cuda(DEVICES[device])


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_matching_card_is_the_board(monkeypatch, as_bytes):
    module = nvml(["NVIDIA A100-SXM4-80GB", "Tesla T4"], as_bytes=as_bytes)
    backend = card(monkeypatch, module)
    board = backend.find_board()
    assert (board.chip, board.driver, board.power_mode) == ("Tesla T4", "570.86.15", "70 W limit")
    assert board.id.startswith("tesla-t4-") and board.clocks == "graphics max 1590 MHz"
    assert backend.index == 1
    assert module.open == 0  # closed again


def test_two_cards_of_a_kind_are_two_boards(monkeypatch):
    first = card(monkeypatch, nvml(["Tesla T4"])).find_board()
    second = card(monkeypatch, nvml(["Tesla V100", "Tesla T4"])).find_board()
    assert first.id != second.id


def test_another_card_is_not_here_and_named(monkeypatch):
    module = nvml(["NVIDIA GeForce RTX 4090"])
    with pytest.raises(NotHere, match="this is no NVIDIA T4: the GPUs here are NVIDIA GeForce RTX 4090"):
        card(monkeypatch, module).find_board()
    assert module.open == 0
    with pytest.raises(NotHere, match="the GPUs here are none"):
        card(monkeypatch, nvml([])).find_board()


def test_without_a_driver_nothing_is_here(monkeypatch):
    with pytest.raises(NotHere, match=r"this is no NVIDIA H100: no NVIDIA driver answers \(Driver Not Loaded\)"):
        card(monkeypatch, nvml([], driver=False), "h100").find_board()


def test_every_h100_is_an_h100(monkeypatch):
    for name in ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"):
        assert card(monkeypatch, nvml([name]), "h100").find_board().chip == name


@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetMaxClockInfo", "nvmlSystemGetDriverVersion"]
)
def test_a_matching_card_whose_driver_keeps_something_to_itself_is_here_all_the_same(monkeypatch, function):
    assert card(monkeypatch, nvml(["Tesla T4"], unsupported=(function,))).find_board().chip == "Tesla T4"


def test_a_card_that_cannot_be_asked_does_not_hide_the_one_behind_it(monkeypatch):
    module = nvml(["broken", "Tesla T4"])
    name = module.nvmlDeviceGetName

    def ask(handle):
        if handle == 0:
            raise NVMLError("GPU is lost")
        return name(handle)

    module.nvmlDeviceGetName = ask
    assert card(monkeypatch, module).find_board().chip == "Tesla T4"


def test_a_machine_without_pynvml_has_no_card(monkeypatch):
    with pytest.raises(NotHere, match="pynvml"):
        card(monkeypatch, None).find_board()


def test_what_the_driver_does_not_count_is_left_out(monkeypatch):
    module = nvml(["Tesla T4"])
    module.nvmlDeviceGetViolationStatus = lambda handle, policy: (_ for _ in ()).throw(NVMLError("Not Supported"))
    assert card(monkeypatch, module).throttle_marks() == {}
    assert (
        card(monkeypatch, nvml(["Tesla T4"], unsupported=("nvmlDeviceGetTotalEnergyConsumption",))).energy_meter()
        is None
    )


def test_energy_of_a_card_is_the_growth_of_its_counter(monkeypatch):
    module, counter = nvml(["Tesla T4"]), iter([5_000, 47_000])
    module.nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(counter)
    energy = card(monkeypatch, module).energy_meter().read()
    assert energy.energy_j == pytest.approx(42.0)
