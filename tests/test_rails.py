"""The power rails of Jetson modules and the energy over them, from recorded trees."""

from __future__ import annotations

import threading
import types
from pathlib import Path

import pytest

from suite.devices import rails
from suite.devices.rails import RailMeter, find_rails
from tests.jetson_trees import (
    ORIN,
    channels,
    device,
    hwmon,
    no_board_variable_and_no_nvpmodel,  # noqa: F401 - a fixture
    orin,  # noqa: F401 - a fixture
    write,
)


def test_rails_are_found_by_label_on_whatever_number_and_the_sum_is_no_rail(orin):
    rails = find_rails(orin)
    assert set(rails) - {"NC"} == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    assert rails["VDD_GPU_SOC"][0].parent.name == "hwmon10"
    assert rails["VDDQ_VDD2_1V8AO"][0].parent.name == "hwmon3"


def test_a_channel_without_connection_is_no_rail(orin):
    assert "NC" not in find_rails(orin)


AGX_ORIN = (  # idle, R36.4.7
    ("VDD_GPU_SOC", 19_664, 180),
    ("VDD_CPU_CV", 19_664, 60),
    ("VIN_SYS_5V0", 4_976, 763),
    ("VDDQ_VDD2_1V8AO", 4_968, 220),
)


def ina238(number: int, mv: int, ma: int) -> dict[str, str]:
    return hwmon(number, "ina238", {"in0_input": 1, "in1_input": mv, "curr1_input": ma, "power1_input": mv * ma})


@pytest.mark.parametrize(
    ("rails", "added"),
    [
        (AGX_ORIN, {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}),
        ((*AGX_ORIN, ("VDD_CAMERA", 5000, 100)), {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}),
        ((("VDD_IN", 5000, 1850), ("VDD_CPU_GPU_CV", 5000, 500), ("VDD_SOC", 5000, 700)), {"VDD_IN"}),
        ((("POM_5V_IN", 5000, 900), ("POM_5V_GPU", 5000, 100), ("POM_5V_CPU", 5000, 200)), {"POM_5V_IN"}),
        (
            tuple((name, 19_000, 50) for name in ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),
            {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"},
        ),
    ],
    ids=["AGX Orin", "AGX Orin and one more", "Orin NX", "Nano", "AGX Xavier"],
)
def test_each_joule_is_counted_once_whatever_the_module(tmp_path, rails, added):
    """A rail that another one feeds is shown and not added."""
    root = write(tmp_path, hwmon(1, "ina3221", channels(*rails[:3])) | hwmon(4, "ina3221", channels(*rails[3:])))
    meter = meter_of(root)
    assert meter.power_w() == pytest.approx(sum(mv * ma / 1e6 for name, mv, ma in rails if name in added))
    meter.start()
    energy = meter.read()
    assert set(energy.rails) == added
    assert set(energy.rails_not_added) == {name for name, *_ in rails} - added


@pytest.mark.parametrize("carrier", [True, False])
def test_the_input_of_a_carrier_board_is_the_total_where_it_can_be_read(tmp_path, carrier):
    rails = (("VDD_GPU", 20_000, 500), ("VDD_CPU_SOC_MSS", 20_000, 300), ("VIN_SYS_5V0", 5000, 800))
    files = hwmon(1, "ina3221", channels(*rails)) | (ina238(5, 20_000, 1_700) if carrier else {})
    meter = meter_of(write(tmp_path, files))
    assert meter.power_w() == pytest.approx(34.0 if carrier else 20.0)
    assert meter.added == (["VIN"] if carrier else [name for name, *_ in rails])


@pytest.mark.parametrize(
    ("rails", "reason"),
    [
        ((("VDD_A", 5000, 100), ("VDD_B", 5000, 200)), "which of the rails VDD_A, VDD_B hold the others is not known"),
        (AGX_ORIN[:2], "of the rails of Jetson AGX Orin VIN_SYS_5V0 cannot be read"),
    ],
)
def test_rails_that_may_hold_each_other_make_energy_not_known_in_words(tmp_path, rails, reason):
    meter = meter_of(write(tmp_path, hwmon(1, "ina3221", channels(*rails))))
    meter.start()
    assert meter.read() is None
    assert reason in meter.reason


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
    root = write(tmp_path, hwmon(1, "ina3221", channels(("VDD_IN", 10000, 1000))))
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
    root = write(tmp_path, hwmon(1, "ina3221", channels(("VDD_IN", 10000, 1000))))
    monkeypatch.setattr(rails, "time", types.SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: None))
    meter = meter_of(root)
    meter._stop = Script(root, [0.0], [(1.0, 1000), (1.0, junk), (1.0, 1000)])
    meter._sample()
    meter._stop, meter._thread = threading.Event(), threading.Thread()
    meter._thread.start()
    assert meter.read() is None
    assert meter.reason.startswith("1 of 4 readings of the rails failed (VDD_IN: curr1_input says ")
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
    assert meter.read().idle_w == pytest.approx(20 * 0.5 + 20 * 0.1 + 5 * 0.8)


def test_an_idle_level_that_cannot_be_read_is_not_known_and_no_fault_of_the_samples(orin):
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "junk\n"})
    meter = device(orin).energy_meter()
    write(orin, {"sys/class/hwmon/hwmon10/curr1_input": "500\n"})
    meter.start()
    energy = meter.read()
    assert energy.idle_w is None and energy.energy_j >= 0 and meter.reason is None
