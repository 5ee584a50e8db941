"""The processor: a container's quota and its throttling, from recorded trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.catalogue.devices import DEVICES
from suite.devices import health
from suite.devices.backend import backend_of
from suite.devices.cgroup import cpu_groups, cpu_quota, throttled_us
from suite.devices.cpu import Cpu, threads
from suite.devices.health import Watch


def tree(root: Path, own: str, files: dict[str, str], mountinfo: str = "") -> Path:
    files = files | {"proc/self/cgroup": own} | ({"proc/self/mountinfo": mountinfo} if mountinfo else {})
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    monkeypatch.delenv("TEXT3D_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)


V1 = "12:pids:/\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/\n"
V1_MOUNT = (
    "30 24 0:26 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "31 24 0:27 /docker/abc /sys/fs/cgroup/cpuset ro,nosuid - cgroup cgroup rw,cpuset\n"
    "32 24 0:28 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n"
)
V2_ELSEWHERE = "35 24 0:30 / /run/groups rw - cgroup2 cgroup rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("own", "mountinfo", "files", "quota", "expected"),
    [
        ("0::/\n", "", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None, 16),
        ("0::/\n", "", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2.5, 2),
        ("0::/\n", "", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5, 1),
        ("0::/\n", "", {"sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 64, 16),
        ("0::/\n", "", {"sys/fs/cgroup/cpu.max": "junk\n"}, None, 16),
        # The tightest on the way up, wherever it stands; another branch is not ours.
        (
            "0::/a.slice/b.scope\n",
            "",
            {
                "sys/fs/cgroup/a.slice/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000\n",
                "sys/fs/cgroup/other/cpu.max": "100000 100000\n",
            },
            3,
            3,
        ),
        (
            "0::/a.slice/b.scope\n",
            "",
            {
                "sys/fs/cgroup/a.slice/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "100000 50000\n",
            },
            2,
            2,
        ),
        # The path is of the host, and only the container's own branch is mounted.
        (
            V1,
            V1_MOUNT,
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/unified/cpu.max": "100000 100000\n",
            },
            4,
            4,
        ),
        (
            "1:cpu:/\n0::/\n",
            "",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            None,
            16,
        ),
        ("0::/x\n", V2_ELSEWHERE, {"run/groups/x/cpu.max": "200000 100000\n"}, 2, 2),
        ("0::/../../host\n", "", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, 2),
        ("0::/gone/child\n", "", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, 2),
        ("", "", {}, None, 16),
    ],
)
def test_threads_are_no_more_than_the_containers_quota_pays_for(tmp_path, own, mountinfo, files, quota, expected):
    root = tree(tmp_path, own, files, mountinfo)
    assert cpu_quota(root) == quota
    assert threads(root) == expected


def test_threads_that_are_given_stand(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT3D_THREADS", "6")
    assert threads(tree(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"})) == 6


def test_this_machine_has_threads():
    assert threads() >= 1 and isinstance(cpu_groups(), list)


@pytest.mark.parametrize(
    ("own", "stat", "text", "microseconds"),
    [
        ("0::/x\n", "sys/fs/cgroup/x/cpu.stat", "usage_usec 9\nnr_throttled 7\nthrottled_usec 3210\n", 3210),
        ("2:cpu:/x\n0::/\n", "sys/fs/cgroup/cpu/x/cpu.stat", "nr_throttled 7\nthrottled_time 3210999\n", 3210),
        ("0::/x\n", "sys/fs/cgroup/x/cpu.stat", "usage_usec 9\n", None),
        ("0::/x/y\n", "sys/fs/cgroup/x/cpu.stat", "nr_throttled 7\nthrottled_usec 3210\n", 3210),
        ("0::/x\n", "sys/fs/cgroup/other/cpu.stat", "throttled_usec 3210\n", None),
    ],
)
def test_the_time_that_quotas_stopped_us_is_read_in_our_own_branch(tmp_path, own, stat, text, microseconds):
    assert throttled_us(tree(tmp_path, own, {stat: text})) == microseconds


@pytest.mark.parametrize(("stopped_us", "throttled"), [(0, False), (99_000, False), (101_000, True)])
def test_a_stop_counts_when_it_takes_over_a_hundredth_of_the_time(tmp_path, monkeypatch, stopped_us, throttled):
    stat = "sys/fs/cgroup/cpu.stat"
    root = tree(tmp_path, "0::/\n", {stat: "nr_throttled 7\nthrottled_usec 500000\n"})
    clock = [100.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: clock[0])
    watch = Watch(Cpu(DEVICES["cpu"], root=root))
    watch.look()
    clock[0] += 10.0
    tree(root, "0::/\n", {stat: f"nr_throttled 8\nthrottled_usec {500_000 + stopped_us}\n"})
    reason = watch.throttled()
    assert (reason is not None) == throttled
    if throttled:
        assert reason == (
            "the board throttled itself while it was timed (stopped by the CPU quota for 0.101 s of 10 s)"
        )


@pytest.mark.parametrize("ours_us, elsewhere_us, throttled", [(0, 900_000, False), (50_000, 0, True)])
def test_what_stops_another_process_between_two_samples_counts_neither_way(
    tmp_path, monkeypatch, ours_us, elsewhere_us, throttled
):
    """Of two seconds that were timed, beside eight in which another process computed."""
    stat = "sys/fs/cgroup/cpu.stat"
    root = tree(tmp_path, "0::/\n", {stat: "nr_throttled 7\nthrottled_usec 500000\n"})
    clock = [100.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: clock[0])
    watch = Watch(Cpu(DEVICES["cpu"], root=root))
    clock[0] += 2.0
    tree(root, "0::/\n", {stat: f"nr_throttled 8\nthrottled_usec {500_000 + ours_us}\n"})
    with watch.elsewhere():
        clock[0] += 8.0
        tree(root, "0::/\n", {stat: f"nr_throttled 9\nthrottled_usec {500_000 + ours_us + elsewhere_us}\n"})
    assert (watch.throttled() is not None) == throttled


def test_without_a_quota_nothing_is_claimed(tmp_path):
    backend = Cpu(DEVICES["cpu"], root=tree(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.stat": "usage_usec 9\n"}))
    assert backend.throttle_marks() == {}
    assert Watch(backend).throttled() is None and Watch(backend).notes() == []


def test_the_processor_counts_no_energy():
    assert backend_of(DEVICES["cpu"]).energy_meter() is None


@pytest.mark.parametrize(
    ("cpuinfo", "chip"),
    [
        (
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping: 1\n",
            "AMD EPYC (family 25, model 1)",
        ),
        ("cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n", "AMD EPYC (family 25, model 17)"),
        (
            "cpu family\t: 6\nmodel\t\t: 140\nmodel name\t: 11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz\n",
            "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz",
        ),
        (
            "processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "Raspberry Pi 4 Model B Rev 1.4",
        ),
        ("processor\t: 0\nmodel name\t: ARMv8 Processor\n", "ARMv8 Processor"),
    ],
)
def test_processors_that_a_hypervisor_gives_one_name_are_different_boards(tmp_path, cpuinfo, chip):
    board = Cpu(DEVICES["cpu"], tree(tmp_path, "", {"proc/cpuinfo": cpuinfo, "etc/machine-id": "abc"})).find_board()
    assert board.chip == chip
    assert board.id.startswith(f"cpu-{chip.split()[0].lower()}") and " " not in board.id
