"""Jetson modules, from recorded sysfs trees."""

from __future__ import annotations

import threading
import types
from pathlib import Path

import pytest

from suite.catalogue.devices import DEVICES
from suite.devices import rails
from suite.devices.backend import NotHere, backend_of, read_text
from suite.devices.health import Watch
from suite.devices.jetson import Jetson, find_over_current
from suite.devices.rails import RailMeter, find_rails

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
    return RailMeter(find_rails(root))


class Script:
    """In place of the meter's event: moves the clock and the rails, one entry a sample, then says stop."""

    def __init__(self, root: Path, clock: list[float], feed: list[tuple[float, object]]):
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
    monkeypatch.setattr(rails, "time", types.SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: None))
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
    meter.start()
    time.sleep(0.15)
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "2500\n"})  # GPU from 10 W to 50 W
    time.sleep(0.6)  # so much more that what a busy machine adds around it plays no part
    energy = meter.read()
    seconds = time.monotonic() - started
    assert seconds * before < energy.energy_j < seconds * (before + 40)
    assert energy.idle_w == pytest.approx(before)
    assert "VDD_GPU_SOC" in energy.rails
    assert threading.active_count() == threads


def test_without_rails_energy_is_not_known_rather_than_zero(tmp_path):
    assert device(write(tmp_path, {"proc/device-tree/model": ORIN})).energy_meter() is None


@pytest.mark.parametrize("junk", ["", "<unknown>", "12.5", "0x1f"])
def test_a_rail_that_says_junk_makes_energy_not_known_for_a_stated_reason(tmp_path, monkeypatch, junk):
    """A sampling thread that dies of it would leave a sum that is too small and looks right."""
    root = write(tmp_path, hwmon(1, "ina3221", channels(("VDD_GPU_SOC", 10000, 1000))))
    monkeypatch.setattr(rails, "time", types.SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: None))
    meter = meter_of(root)
    meter._stop = Script(root, [0.0], [(1.0, 1000), (1.0, junk), (1.0, 1000)])
    meter._sample()
    meter._stop, meter._thread = threading.Event(), threading.Thread()
    meter._thread.start()
    assert meter.read() is None
    assert meter.reason.startswith("1 of 4 readings of the rails failed (VDD_GPU_SOC: curr1_input says ")
    assert (junk or "None") in meter.reason
    assert meter.idle_w == pytest.approx(10.0)


def test_a_running_meter_outlives_junk(orin):
    meter = device(orin).energy_meter()
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "junk\n"})
    meter.start()
    assert meter._thread.is_alive()
    assert meter.read() is None and "VDD_GPU_SOC: curr1_input says 'junk'" in meter.reason


def test_the_idle_level_is_that_of_when_the_meter_was_made(orin):
    meter = device(orin).energy_meter()
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "2500\n"})  # the model runs: 50 W
    meter.start()
    assert meter.read().idle_w == pytest.approx(20 * 0.5 + 20 * 0.1 + 5 * 0.8 + 4.992 * 0.3)


def test_an_idle_level_that_cannot_be_read_is_not_known_and_no_fault_of_the_samples(orin):
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "junk\n"})
    meter = device(orin).energy_meter()
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "500\n"})
    meter.start()
    energy = meter.read()
    assert energy.idle_w is None and energy.energy_j >= 0 and meter.reason is None


# Throttling.

GPU = "sys/class/devfreq/17000000.gpu"
THERMAL = "sys/class/thermal"


@pytest.fixture
def pinned(orin) -> Path:
    """The module after jetson_clocks, at rest: fan on, zones and cooling devices as they are listed."""
    return write(
        orin,
        {f"{GPU}/{name}_freq": "1300500000\n" for name in ("cur", "min", "max")}
        | {
            f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
            f"{THERMAL}/thermal_zone0/temp": "47000\n",
            f"{THERMAL}/thermal_zone8/type": "tj-thermal\n",
            f"{THERMAL}/thermal_zone8/temp": "51500\n",
            f"{THERMAL}/cooling_device0/type": "pwm-fan\n",
            f"{THERMAL}/cooling_device0/cur_state": "2\n",
            f"{THERMAL}/cooling_device1/type": "gpu-throttle-alert\n",
            f"{THERMAL}/cooling_device1/cur_state": "0\n",
            f"{THERMAL}/cooling_device2/type": "devfreq-17000000.gpu\n",
            f"{THERMAL}/cooling_device2/cur_state": "0\n",
        },
    )


def test_over_current_counters_are_found_by_name_and_their_growth_is_said(orin):
    assert device(orin).throttle_marks() == {"oc1_event_cnt": 0, "oc2_event_cnt": 3, "oc3_event_cnt": 0}
    watch = Watch(device(orin))
    assert watch.throttled() is None
    write(orin, {"sys/class/hwmon/hwmon2/oc2_event_cnt": "5\n", "sys/class/hwmon/hwmon2/oc3_event_cnt": "1\n"})
    reason = watch.throttled()
    assert "oc2_event_cnt +2" in reason and "oc3_event_cnt +1" in reason and "oc1" not in reason


def test_a_counter_that_says_junk_is_left_out(orin):
    write(orin, {"sys/class/hwmon/hwmon2/oc2_event_cnt": "<unknown>\n"})
    assert device(orin).throttle_marks() == {"oc1_event_cnt": 0, "oc3_event_cnt": 0}


def test_over_current_counters_are_found_under_their_platform_device_as_well(tmp_path):
    folder = "sys/devices/platform/soctherm-oc-event/hwmon/hwmon4"
    root = write(tmp_path, {f"{folder}/oc1_event_cnt": "7\n"})
    assert find_over_current(root).name == "hwmon4"
    assert device(root).throttle_marks() == {"oc1_event_cnt": 7}


def test_without_counters_zones_and_clocks_nothing_is_claimed(tmp_path):
    assert device(tmp_path).throttle_marks() == {}
    watch = Watch(device(tmp_path))
    watch.look()
    assert (watch.throttled(), watch.notes()) == (None, [])


def test_temperature_and_lowest_clock_are_noted_and_a_fan_slows_nothing_down(pinned):
    watch = Watch(device(pinned))
    write(pinned, {f"{THERMAL}/thermal_zone8/temp": "63250\n", f"{THERMAL}/cooling_device0/cur_state": "4\n"})
    watch.look()
    write(pinned, {f"{THERMAL}/thermal_zone8/temp": "60000\n"})
    watch.look()
    assert watch.notes() == ["health: 51.5 °C before and 63.2 °C at most, GPU clock 1300 MHz at the lowest"]
    assert watch.throttled() is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({f"{GPU}/cur_freq": "918000000\n"}, "GPU at 918 MHz, pinned to 1300"),
        ({f"{GPU}/max_freq": "918000000\n"}, "GPU limit fell from 1300 to 918 MHz"),
        ({f"{THERMAL}/cooling_device1/cur_state": "1\n"}, "gpu-throttle-alert is held back"),
        ({f"{THERMAL}/cooling_device2/cur_state": "3\n"}, "devfreq-17000000.gpu is held back"),
    ],
)
def test_a_board_that_is_held_back_between_two_samples_is_throttled_though_it_recovers(pinned, files, reason):
    before = {name: (pinned / name).read_text() for name in files}
    watch = Watch(device(pinned))
    write(pinned, files)
    watch.look()
    write(pinned, before)
    watch.look()
    assert reason in watch.throttled() and "51.5 °C" in watch.throttled()


@pytest.mark.parametrize("clock", ["1299750000", "0", "<unknown>"])
def test_a_rounded_clock_and_a_gpu_asleep_between_samples_are_no_throttling(pinned, clock):
    watch = Watch(device(pinned))
    write(pinned, {f"{GPU}/cur_freq": f"{clock}\n"})
    watch.look()
    assert watch.throttled() is None


def test_a_clock_that_is_free_to_follow_the_load_may_be_low(pinned):
    write(pinned, {f"{GPU}/min_freq": "306000000\n"})
    watch = Watch(device(pinned))
    write(pinned, {f"{GPU}/cur_freq": "306000000\n"})
    watch.look()
    assert watch.throttled() is None
    assert "GPU clock 306 MHz at the lowest" in watch.notes()[0]
