"""What a session keeps of its machine, and the faults of a night: clock, reboot, power mode, a canary that moves."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from suite.history import COMMITTED, MACHINE, MACHINE_FILE, read_folder, read_session
from suite.judging.steadiness import CANARY_TOLERANCE, why_unsteady
from suite.machine import Condition, Run, SessionMachine
from suite.records import Status
from suite.saving import Journal
from suite.worker import clock
from tests.factories import measurement, session_file
from tests.test_plugin import CELL, FAST, bench, journals  # noqa: F401 - a fixture

STEPS, FP32 = CELL.format("steps-4"), CELL.format("fp32")
BOOT, NEXT_BOOT = "03f43317-457f-468d-9e9f-d2012582351a", "c0ffee00-457f-468d-9e9f-d2012582351a"


def condition(minute: int = 0, **others) -> Condition:
    return Condition(**({"at": f"2026-11-28T09:{minute:02}:00+00:00", "boot_id": BOOT} | others))


def canary(seconds: float, spread: float = 0.1) -> list[float]:
    draw = random.Random(7)
    return [seconds * (1 + draw.uniform(-spread, spread)) for _ in range(31)]


# Judged.


def test_a_machine_that_stayed_as_it_was_is_steady():
    runs = [Run(start=condition(canary_samples_s=canary(0.002)), end=condition(9, canary_samples_s=canary(0.0022)))]
    assert why_unsteady(runs) == []
    assert why_unsteady([Run(start=condition(boot_id=None)), Run(start=condition(5))]) == []  # what is not known


def test_a_reboot_between_two_runs_is_told():
    runs = [Run(start=condition(1)), Run(start=condition(8, boot_id=NEXT_BOOT), end=condition(9, boot_id=NEXT_BOOT))]
    (reason,) = why_unsteady(runs)
    assert reason.startswith("the machine was rebooted between 2026-11-28T09:01") and "09:08" in reason


@pytest.mark.parametrize(("back_s", "told"), [(0.5, 0), (3600.0, 1)])
def test_a_clock_that_was_set_back_is_told_and_one_that_was_corrected_is_not(back_s, told):
    assert len(why_unsteady([Run(start=condition(), end=condition(5, clock_set_back_s=back_s))])) == told


def test_another_power_mode_and_other_clocks_are_told_by_device():
    before = condition(power_modes={"orin": "MAXN"}, clocks={"orin": "gpu 1300 MHz pinned"})
    after = condition(9, power_modes={"orin": "MODE_30W"}, clocks={"orin": "gpu 1300 MHz free"})
    assert why_unsteady([Run(start=before, end=after)]) == [
        "orin: power mode MAXN became MODE_30W",
        "orin: clocks gpu 1300 MHz pinned became gpu 1300 MHz free",
    ]


@pytest.mark.parametrize("factor", [1.6, 1 / 1.6])
def test_a_canary_that_moved_beyond_its_own_noise_is_told(factor):
    runs = [Run(start=condition(canary_samples_s=canary(0.002)))]
    runs.append(Run(start=condition(5, canary_samples_s=canary(0.002 * factor))))
    (reason,) = why_unsteady(runs)
    assert reason.startswith("the canary took ") and "1.60" in reason and "at its start" in reason


def test_a_canary_too_noisy_to_tell_is_no_move():
    noisy = [0.001, 0.02, 0.0015, 0.03]
    assert (
        why_unsteady([Run(start=condition(canary_samples_s=noisy), end=condition(9, canary_samples_s=canary(0.004)))])
        == []
    )


def test_the_tolerance_is_what_the_committed_canaries_say():
    """Pairs of canaries of one committed session: in six sessions nearly all lie within it."""
    by_session: dict[str, list[float]] = {}
    for m in read_folder(COMMITTED).measurements:
        if m.canary_s is not None:
            by_session.setdefault(m.session, []).append(m.canary_s)
    shares = []
    for found in by_session.values():
        pairs = [max(a / b, b / a) for k, a in enumerate(found) for b in found[:k]]
        if len(found) > 2:
            shares.append(sum(pair <= 1 + CANARY_TOLERANCE for pair in pairs) / len(pairs))
    assert sum(share >= 0.99 for share in shares) >= 6


# Kept and read back.


def kept(session: str = "20261128T090000-7", unsteady: tuple[str, ...] = ()) -> SessionMachine:
    runs = [Run(start=condition(canary_samples_s=[0.002]))]
    return SessionMachine(session=session, board="laptop", runs=runs, unsteady=list(unsteady))


def test_a_journals_machine_is_read_back_and_is_no_problem(tmp_path):
    machine = kept(unsteady=("the machine was rebooted",))
    journal = Journal(tmp_path / "journal" / machine.session)
    journal.begin()
    journal.write("a", measurement(session=machine.session))
    journal.write_machine(machine)
    history = read_folder(tmp_path)
    assert history.problems == [] and len(history.measurements) == 1
    assert history.machines == {("laptop", machine.session): machine}
    assert journal.read().machines == history.machines


def test_a_sessions_file_has_it_under_a_key_of_its_own_and_old_files_have_none(tmp_path):
    path = session_file(tmp_path / "0001_a.json", [measurement()])
    assert read_session(path).machines == {}
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {MACHINE: kept().model_dump(mode="json")}))
    history = read_session(path)
    assert list(history.machines.values()) == [kept()] and history.problems == []


@pytest.mark.parametrize("broken", ["{", '{"session_machine": {"session": "x"}}', '{"session_machine": 7}'])
def test_a_broken_machine_file_is_reported_alone(tmp_path, broken):
    journal = Journal(tmp_path / "journal" / "20261128T090000-7")
    journal.begin()
    journal.write("a", measurement())
    (journal.folder / MACHINE_FILE).write_text(broken)
    history = journal.read()
    assert len(history.measurements) == 1 and history.machines == {}
    (problem,) = history.problems
    assert str(journal.folder / MACHINE_FILE) in problem


def test_a_file_of_that_name_in_no_journal_is_not_ours(tmp_path):
    (tmp_path / MACHINE_FILE).write_text("a note")
    assert read_folder(tmp_path).problems == []


def test_a_broken_key_of_a_sessions_file_leaves_its_cells(tmp_path):
    path = session_file(tmp_path / "0001_a.json", [measurement()])
    path.write_text(json.dumps(json.loads(path.read_text()) | {MACHINE: {"session": "../x"}}))
    history = read_session(path)
    assert len(history.measurements) == 1
    (problem,) = history.problems
    assert f"{MACHINE}: session" in problem and problem.endswith("its cells are read")


def test_a_machine_of_a_newer_version_is_left_where_it_is(tmp_path):
    journal = Journal(tmp_path / "journal" / "20261128T090000-7")
    journal.begin()
    journal.write_machine(kept())
    path = journal.folder / MACHINE_FILE
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    (problem,) = journal.read().problems
    assert "newer text3d-bench" in problem and path.exists()


# The clock.


def test_no_row_is_moved_before_the_start_when_the_clock_is_set_back(monkeypatch):
    before, true = clock.now(), clock.time.time
    assert clock.set_back_s() < 1
    monkeypatch.setattr(clock.time, "time", lambda: true() - 3600)
    assert clock.now() >= before and 3599 < clock.set_back_s() < 3602
    monkeypatch.setattr(clock.time, "time", lambda: true() + 3600)
    assert clock.set_back_s() == 0


# Real sessions.


def machine_of(folder: Path) -> SessionMachine:
    (journal,) = journals(folder)
    return SessionMachine.model_validate(json.loads((journal.folder / MACHINE_FILE).read_text())[MACHINE])


def test_a_night_of_changes_loses_nothing_and_is_unsteady_also_when_it_is_resumed(bench, tmp_path):
    """After the first cell the clock goes back to 1970 and the power mode changes; then the machine is rebooted."""
    night = {"TEXT3D_TEST_NIGHT": "changes", "TEXT3D_TEST_CHANGED": str(tmp_path / "changed")}
    options = [FP32, STEPS, *FAST, "-p", "tests.odd_night", "--benchmark-save=night"]
    result = bench(*options, **night)
    assert result.returncode == 0, result.stdout
    machine = machine_of(bench.folder)
    (saved,) = bench.folder.glob("*.json")
    history = read_folder(bench.folder)
    assert len(history.measurements) == 2 and history.problems == []
    assert all(m.measured_at >= machine.runs[0].start.at for m in history.measurements)
    assert json.loads(saved.read_text())[MACHINE] == machine.model_dump(mode="json")
    (run,) = machine.runs
    assert run.start.boot_id and run.end is not None and run.end.at >= run.start.at
    assert len(run.start.canary_samples_s) == len(run.end.canary_samples_s) == 31
    assert {"free memory", "swap in use", "clock"} <= {check.name for check in run.checks}
    for words in ("the clock was set back by", "cpu: power mode MAXN became MODE_15W"):
        assert any(words in reason for reason in machine.unsteady), machine.unsteady
        assert f"unsteady: {words}" in result.stdout

    (journal,) = journals(bench.folder)
    (journal.folder / "closed").unlink()  # as if it had been killed before it saved
    path = journal.folder / MACHINE_FILE
    path.write_text(path.read_text().replace(run.start.boot_id, NEXT_BOOT))
    resumed = bench(
        STEPS,
        *FAST,
        "-p",
        "tests.odd_night",
        "--resume",
        TEXT3D_TEST_NIGHT="changes",
        **{"TEXT3D_TEST_CHANGED": str(tmp_path / "not")},
    )
    assert "resumed session" in resumed.stdout, resumed.stdout
    machine = machine_of(bench.folder)
    assert [r.start.at for r in machine.runs][0] == run.start.at and len(machine.runs) == 2
    assert any("the machine was rebooted between" in reason for reason in machine.unsteady)
    assert "unsteady: the machine was rebooted between" in resumed.stdout


def test_a_clock_that_starts_in_1970_measures_nothing(bench):
    result = bench(STEPS, *FAST, "-p", "tests.odd_night", TEXT3D_TEST_NIGHT="never-set")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout
    assert "clock says 1970-01-01" in result.stdout and "timedatectl" in result.stdout
    assert not (bench.folder / "journal").exists()


def test_a_board_that_is_held_back_for_the_whole_night_ends_red(bench):
    result = bench(STEPS, *FAST, "-p", "tests.odd_night", "--require-device", "cpu", TEXT3D_TEST_NIGHT="held-back")
    assert result.returncode == 1, result.stdout
    assert "--require-device cpu: no cell has a latency that can be trusted" in result.stdout
    assert "oc3_event_cnt" in result.stdout and "check the power supply" in result.stdout
    (m,) = read_folder(bench.folder).measurements
    assert m.status == Status.THROTTLED and m.latency.disturbed == list(range(len(m.latency.samples_s)))
