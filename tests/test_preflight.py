"""Checks of the machine on recorded trees, in a real worker, and as a user asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch

from suite.catalogue.devices import DEVICES
from suite.devices.backend import Board
from suite.devices.health import Health
from suite.machine import State
from suite.preflight import machine, probes
from suite.preflight.board import heat, others_on_it, pinned_clocks, power_mode
from suite.preflight.clock import why_behind
from suite.preflight.neighbours import neighbours
from suite.preflight.place import Place, Site, told
from suite.preflight.run import cheap_checks, not_ok, table
from suite.worker import looking
from tests.factories import measurement, session_file
from tests.jetson_trees import device, orin, write  # noqa: F401 - a fixture
from tests.test_cuda import card, nvml
from tests.test_plugin import CELL, FAST, bench  # noqa: F401 - a fixture

STEPS = CELL.format("steps-4")
GIB_KB = 2**20  # of /proc/meminfo's kilobytes


def site(root: Path) -> Site:
    return Site(history=root / "history", checkout=root, root=root)


def jetson(root: Path) -> Place:
    backend = device(root)
    return Place(backend, backend.find_board())


# The whole machine.


@pytest.mark.parametrize(
    ("governors", "state"),
    [(("performance", "performance"), State.OK), (("performance", "schedutil"), State.WARN), ((), State.UNKNOWN)],
)
def test_the_governor_is_that_of_every_core(tmp_path, governors, state):
    for number, name in enumerate(governors):
        write(tmp_path, {f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor": f"{name}\n"})
    check = machine.governor(site(tmp_path))
    assert check.state == state
    assert (check.advice is not None and "cpupower" in check.advice) == (state == State.WARN)


@pytest.mark.parametrize(("left_gib", "state"), [(8, State.OK), (1, State.WARN), (0.25, State.FAIL)])
def test_free_memory_is_graded(tmp_path, left_gib, state):
    write(tmp_path, {"proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {int(left_gib * GIB_KB)} kB\n"})
    assert machine.free_memory(site(tmp_path)).state == state


def test_a_containers_limit_is_what_is_left(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemAvailable: {64 * GIB_KB} kB\n",
            "proc/self/cgroup": "0::/box\n",
            "sys/fs/cgroup/box/memory.max": f"{2**30}\n",
            "sys/fs/cgroup/box/memory.current": f"{2**29}\n",
        },
    )
    check = machine.free_memory(site(tmp_path))
    assert (check.state, check.found) == (State.WARN, "512 MiB")


@pytest.mark.parametrize(("used_mib", "state"), [(10, State.OK), (300, State.WARN)])
def test_swap_in_use_is_told(tmp_path, used_mib, state):
    write(tmp_path, {"proc/meminfo": f"SwapTotal: {GIB_KB} kB\nSwapFree: {GIB_KB - used_mib * 1024} kB\n"})
    check = machine.swap(site(tmp_path))
    assert (check.state, check.found) == (state, f"{used_mib} MiB of 1.0 GiB")


def test_what_a_kernel_does_not_show_is_unknown_and_nobodys_fault(tmp_path):
    checks = [machine.governor, machine.free_memory, machine.swap, machine.others_on_processors]
    found = [check(site(tmp_path)) for check in checks]
    assert {check.state for check in found} == {State.UNKNOWN} and not_ok(found) == []


def test_free_disk_is_that_of_the_folder_that_is_there_already(tmp_path):
    assert "where the history is kept" in machine.free_disk(site(tmp_path)).found


def test_a_full_disk_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=50 * 2**20))
    check = machine.free_disk(site(tmp_path))
    assert check.state == State.FAIL and "make room" in check.advice


# The clock.


def test_a_clock_that_was_never_set_is_told_though_nothing_is_recorded(tmp_path):
    reason = why_behind(tmp_path, tmp_path, datetime(1970, 1, 1, 0, 3, tzinfo=timezone.utc))
    assert "1970-01-01 00:03 UTC" in reason and "never set" in reason and "timedatectl" in reason


def test_a_clock_behind_the_newest_saved_measurement_is_told(tmp_path):
    session_file(tmp_path / "0001_a.json", [measurement(measured_at="2026-11-23T04:00:00Z")])
    (tmp_path / "0002_b.json").write_text("garbage")
    now = datetime(2026, 11, 22, tzinfo=timezone.utc)
    assert why_behind(tmp_path, tmp_path, now) is None  # the newest cannot be read: said where it is read
    (tmp_path / "0002_b.json").unlink()
    assert "point-e-nano-text/fp32@cpu in" in why_behind(tmp_path, tmp_path, now)


# Neighbours.


def test_a_process_that_is_not_ours_is_named_and_what_we_started_is_not():
    spin = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    # A shell that ends at once leaves its child to others.
    orphan = subprocess.run(
        ["sh", "-c", f"{sys.executable} -c '{spin}' >/dev/null 2>&1 & echo $!"], capture_output=True, text=True
    )
    pid = int(orphan.stdout)
    try:
        seen = neighbours(window_s=1.0)
        assert seen.cores > 0.1
        assert any(name.startswith("python") for name, _ in seen.busiest)
    finally:
        os.kill(pid, 9)


def stat(pid: int, name: str, parent: int, ticks: int) -> dict[str, str]:
    return {f"proc/{pid}/stat": f"{pid} ({name}) R {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0\n"}


def test_ticks_are_shared_out_among_ours_named_and_hidden(tmp_path, monkeypatch):
    """In one second 100 ticks of a core: 60 ours by a grandchild, 80 a neighbour's, 40 a container's that is hidden."""
    us = os.getpid()

    def at(second: int) -> None:
        busy = {"proc/stat": f"cpu {1000 + 180 * second} 0 0 9999 0 0 0 0 0 0\n"}
        write(tmp_path, busy | stat(us, "pytest", 1, 10) | stat(90001, "server", us, 5))
        write(tmp_path, stat(90002, "a worker", 90001, 60 * second) | stat(90003, "other) (x", 1, 80 * second))

    clock = iter([0.0, 1.0])
    monkeypatch.setattr("suite.preflight.neighbours.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("suite.preflight.neighbours.time.sleep", lambda seconds: at(1))
    monkeypatch.setattr("suite.preflight.neighbours.os.sysconf", lambda name: 100)
    at(0)
    seen = neighbours(tmp_path)
    assert seen.cores == pytest.approx(1.2)
    assert seen.busiest == (("other) (x", 0.8),)


# A board.


def test_an_orin_that_is_capped_and_free_is_told_what_to_type(orin):
    write(
        orin,
        {
            "var/lib/nvpmodel/status": "pmode:0002\n",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=MODE_30W >\n",
            "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        },
    )
    place = jetson(orin)
    mode, clocks = power_mode(place), pinned_clocks(place)
    assert (mode.state, mode.found, mode.device) == (State.WARN, "MODE_30W", "orin") and "nvpmodel" in mode.advice
    assert clocks.state == State.WARN and "sudo jetson_clocks" in clocks.advice


def test_an_orin_at_its_highest_and_pinned_is_well(orin):
    write(
        orin,
        {
            "var/lib/nvpmodel/status": "pmode:0000\n",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n",
            "sys/class/devfreq/17000000.gpu/min_freq": "1300500000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "2201600\n",
        },
    )
    place = jetson(orin)
    assert [power_mode(place).state, pinned_clocks(place).state] == [State.OK, State.OK]
    assert others_on_it(place).state == State.UNKNOWN  # NVML lists no processes of an integrated GPU


ZONE = "sys/class/thermal/thermal_zone8"


@pytest.mark.parametrize(
    ("millidegrees", "state"), [(45000, State.OK), (92000, State.WARN), (99000, State.FAIL), (None, State.UNKNOWN)]
)
def test_heat_is_told_by_the_temperature_at_which_a_board_slows_down(orin, millidegrees, state):
    write(orin, {f"{ZONE}/type": "tj-thermal\n", f"{ZONE}/temp": f"{millidegrees or 'none'}\n"})
    trips = ((104500, "critical"), (96000, "passive"), (0, "active"))
    for number, (trip, kind) in enumerate(trips):
        write(orin, {f"{ZONE}/trip_point_{number}_temp": f"{trip}\n", f"{ZONE}/trip_point_{number}_type": f"{kind}\n"})
    check = heat(jetson(orin))
    assert check.state == state, check
    assert millidegrees is None or "the 96 °C at which it slows down" in check.found


def made(**said) -> Place:
    backend = types.SimpleNamespace(
        device=DEVICES["t4"], health=lambda: Health(**said), other_processes=lambda: ["process 7"]
    )
    return Place(backend, Board(id="t4", chip="T4", power_mode="70 W limit"))


def test_a_board_that_is_held_back_already_fails_and_others_on_a_card_are_named():
    assert heat(made(temperature_c=60.0, slowing=("cpu-throttle",))).state == State.FAIL
    assert others_on_it(made()).found == "process 7" and others_on_it(made()).state == State.WARN
    assert power_mode(made()).state == State.OK


def a_card(monkeypatch, **answers) -> Place:
    """A made driver that gives these answers beside those of every test."""
    driver = nvml(["Tesla T4"])
    driver.NVML_TEMPERATURE_GPU, driver.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 0, 1
    for name in ("Temperature", "TemperatureThreshold", "ClockInfo", "ComputeRunningProcesses"):

        def answer(*asked, name=name):
            if name not in answers:
                raise driver.NVMLError("Not Supported")
            return answers[name]

        setattr(driver, f"nvmlDeviceGet{name}", answer)
    backend = card(monkeypatch, driver)
    return Place(backend, backend.find_board())


def test_a_card_tells_its_heat_and_its_other_processes(monkeypatch):
    others = [types.SimpleNamespace(pid=os.getpid()), types.SimpleNamespace(pid=4711)]
    place = a_card(monkeypatch, Temperature=88, TemperatureThreshold=93, ClockInfo=1590, ComputeRunningProcesses=others)
    assert place.backend.health() == Health(temperature_c=88.0, slows_at_c=93.0, gpu_hz=1_590_000_000)
    assert (heat(place).state, others_on_it(place).found) == (State.WARN, "process 4711")
    assert pinned_clocks(place).state == State.UNKNOWN  # a driver says the highest, not whether it is held


def test_a_card_whose_driver_keeps_that_to_itself_is_unknown_and_measured_all_the_same(monkeypatch):
    place = a_card(monkeypatch)
    assert place.backend.health() == Health()
    assert {heat(place).state, others_on_it(place).state} == {State.UNKNOWN}


def test_a_backend_of_anothers_that_fails_ends_no_session(tmp_path):
    backend = types.SimpleNamespace(device=DEVICES["t4"], health=lambda: 1 / 0)
    checks = cheap_checks(site(tmp_path), [Place(backend, Board(id="t4", chip="T4"))])
    (failed,) = [check for check in checks if check.name == "heat"]
    assert failed.state == State.UNKNOWN and failed.found.startswith("ZeroDivisionError")


# With torch and children.


def test_kernel_and_bridge_are_tried_by_a_worker():
    place = Place(types.SimpleNamespace(device=DEVICES["cpu"]), Board(id="cpu", chip="chip"))
    assert probes.kernel(place).state == State.OK
    assert probes.numpy_bridge(DEVICES["cpu"]).state == State.OK


def test_a_kernel_that_fails_or_is_wrong_is_told(monkeypatch):
    cpu = DEVICES["cpu"]
    assert looking.why_no_kernel(cpu) is None
    right = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: right(tensor) + 1)
    assert looking.why_no_kernel(cpu) == "4096 of 4096 numbers of a matrix product are wrong"
    monkeypatch.setattr(looking, "backend_of", lambda device: 1 / 0)
    assert looking.why_no_kernel(cpu).startswith("ZeroDivisionError")


def test_a_torch_that_knows_no_numpy_is_told(monkeypatch):
    assert looking.why_no_bridge() is None
    monkeypatch.setattr(
        torch, "from_numpy", lambda array: (_ for _ in ()).throw(RuntimeError("Numpy is not available"))
    )
    assert "Numpy is not available" in looking.why_no_bridge()


def test_an_onnx_runtime_that_aborts_is_a_check_and_not_the_end_of_us(monkeypatch):
    pytest.importorskip("onnxruntime")
    assert probes.onnx_runtime().state == State.OK
    abort = "import os, sys; print('Unknown CPU vendor', file=sys.stderr, flush=True); os.abort()"
    monkeypatch.setattr(probes, "START_ONNX_RUNTIME", abort)
    check = probes.onnx_runtime()
    assert check.state == State.WARN and check.found == "ended with exit code -6: Unknown CPU vendor"
    assert "another version" in check.advice


# As a whole.


def test_the_table_says_below_a_fault_what_to_do():
    checks = [told("swap in use", State.WARN, "1.0 GiB", "sudo swapoff -a"), told("clock", State.OK, "set", "x")]
    checks += [told("heat", State.FAIL, "99 °C", "cool", "orin")]
    assert table(checks) == [
        "warn     swap in use  1.0 GiB",
        "                      → sudo swapoff -a",
        "ok       clock        set",
        "fail     orin: heat   99 °C",
        "                      → cool",
    ]
    assert [check.name for check in not_ok(checks)] == ["swap in use", "heat"]


def test_the_checks_of_every_session_need_no_torch(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom suite.preflight.run import cheap_checks, places_of\n"
        "from suite.preflight.place import Site\n"
        "checks = cheap_checks(Site(Path('.'), Path('.')), places_of(['cpu']))\n"
        "assert len(checks) == 7, checks\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert len(cheap_checks(site(tmp_path), [])) == 6


def test_preflight_prints_the_table_and_measures_nothing(bench):
    result = bench(STEPS, "--preflight")
    assert "free memory" in result.stdout and "cpu: real kernel" in result.stdout, result.stdout
    failed = any(line.startswith("fail") for line in result.stdout.splitlines())
    assert result.returncode == (1 if failed else 0)
    assert not (bench.folder / "journal").exists()


def test_preflight_of_a_device_that_is_not_here_fails(bench):
    result = bench("-m", "orin", "--preflight", "--require-device", "orin")
    assert result.returncode == 1
    assert "this is no NVIDIA Jetson AGX Orin" in result.stdout and "orin: board" in result.stdout


def test_a_strict_session_measures_nothing_where_a_check_is_not_ok(bench):
    result = bench(STEPS, *FAST, "--strict-machine", "-p", "tests.no_disk")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout
    assert "--strict-machine: nothing is measured, since" in result.stdout
    assert "free disk: 50 MiB where the history is kept (make room" in result.stdout
    assert not (bench.folder / "journal").exists()
