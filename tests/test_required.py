"""What `--require-device` asks of a session, and a clock that stands behind what is recorded."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from suite.preflight.clock import why_behind
from suite.records import Status
from suite.session.required import Skips, unmet
from tests.factories import measurement

FP32, STEPS = "point-e-nano-text/fp32@orin", "point-e-nano-text/steps-16@orin"
THROTTLED = "throttled: the board throttled itself while it was timed (oc3_event_cnt +6)"


def by_id(*measurements) -> dict:
    return {m.configuration: m for m in measurements}


def test_one_latency_and_nothing_skipped_is_enough():
    assert unmet(["orin"], {}, by_id(measurement(FP32))) == []
    assert unmet([], {FP32: THROTTLED}, {}) == []


def test_a_night_without_a_trustworthy_latency_is_said_with_advice():
    (line,) = unmet(["orin"], {FP32: THROTTLED}, by_id(measurement(FP32, status=Status.THROTTLED)))
    assert "no cell has a latency that can be trusted" in line and "oc3_event_cnt +6" in line
    assert "check the power supply" in line and FP32 in line


def test_rows_of_another_device_are_none_of_the_required_one():
    (line,) = unmet(["orin"], {}, by_id(measurement("point-e-nano-text/fp32@cpu")))
    assert "--require-device orin" in line


@pytest.mark.parametrize("reason", [THROTTLED, "needs-weights: no official weights", "somebody's own mark"])
def test_one_cell_that_was_skipped_is_said_beside_others_that_were_measured(reason):
    (line,) = unmet(["orin", "orin"], {STEPS: reason}, by_id(measurement(FP32)))
    assert "1 of its cells were skipped" in line and reason in line


def test_a_measurement_without_latency_is_no_latency():
    (line,) = unmet(["orin"], {}, by_id(measurement(FP32, seconds=None)))
    assert "can be trusted" in line


def report(name: str, outcome: str, when: str = "call", longrepr=None) -> pytest.TestReport:
    nodeid = f"suite/test_configurations.py::test_configuration[{name}]"
    return pytest.TestReport(nodeid, ("", 0, ""), {}, outcome, longrepr, when)


def test_skips_are_those_of_a_cells_last_run():
    skips = Skips()
    skips.pytest_runtest_logreport(report(FP32, "skipped", "setup", ("file", 1, "Skipped: benchmarks are skipped")))
    skips.pytest_runtest_logreport(report(STEPS, "skipped", "call", ("file", 1, f"Skipped: {THROTTLED}")))
    assert skips.reasons == {FP32: "benchmarks are skipped", STEPS: THROTTLED}
    skips.pytest_runtest_logreport(report(STEPS, "passed"))
    skips.pytest_runtest_logreport(report(STEPS, "passed", "teardown"))
    assert skips.reasons == {FP32: "benchmarks are skipped"}
    skips.pytest_runtest_logreport(SimpleNamespace(nodeid="tests/test_x.py::test_y", skipped=True))
    assert len(skips.reasons) == 1


# The clock.

NOW = datetime(2026, 11, 28, 9, 0, tzinfo=timezone.utc)


def board(folder: Path, *sessions: str) -> Path:
    for session in sessions:
        (folder / "journal" / session).mkdir(parents=True)
    return folder


@pytest.mark.parametrize("now", [datetime(1970, 1, 1, 0, 3, tzinfo=timezone.utc), NOW.replace(day=27)])
def test_a_clock_behind_an_earlier_session_is_told_with_what_sets_it(tmp_path, now):
    reason = why_behind(board(tmp_path, "20261001T120000-7", "20261128T085500-9"), tmp_path, now)
    assert f"says {now:%Y-%m-%d %H:%M} UTC" in reason and "20261128T085500-9" in reason and "timedatectl" in reason


@pytest.mark.parametrize("sessions", [(), ("20261128T085500-9",), ("20261128T090500-9",), ("notes",)])
def test_a_clock_that_is_set_or_a_few_minutes_off_is_fine(tmp_path, sessions):
    assert why_behind(board(tmp_path, *sessions), tmp_path, NOW) is None


def test_a_clock_behind_the_checkouts_commit_is_told(tmp_path):
    reason = why_behind(tmp_path, Path(__file__).parents[1], datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert "the commit" in reason and "1970-01-01 00:00 UTC" in reason
