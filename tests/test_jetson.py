"""Jetson modules that slow themselves down, from recorded sysfs trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.devices.health import Watch
from suite.devices.jetson import find_over_current
from tests.jetson_trees import device, no_board_variable_and_no_nvpmodel, orin, write  # noqa: F401 - fixtures

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
