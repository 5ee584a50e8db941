"""Nights and their faults, with real processes. The models sleep (`benchmarks/sleepers.py`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.night_record import (
    GREEN,
    NOT_MEASURED,
    REGRESSED,
    NightRecord,
    read_night,
)
from suite.history import read_folder
from suite.records import Measurement, Status
from suite.saving import open_journals
from tests.factories import latency, session_file
from tests.test_confirm import Clone

ROOT = Path(__file__).parents[1]
CELL = "sleeper-1/fp32@cpu"
FAST = ("--quality-prompts", "0", "--time-budget", "0.1")


class Board:
    """Nights of this checkout, or of a clone, on a board of its own."""

    def __init__(self, folder: Path, root: Path = ROOT, name: str | None = None):
        self.folder, self.root, self.name = folder, root, name or f"night-{folder.name}-{os.getpid()}".replace("_", "-")
        self.results, self.history = folder / "nights", folder / "history"

    def start(self, *options: str, pytest: tuple[str, ...] = (), **more: str) -> subprocess.Popen:
        """As cron does it: another folder, and hardly any environment."""
        environment = {
            "HOME": os.environ.get("HOME", "/"),
            "PATH": "/usr/bin:/bin",
            "TEXT3D_BOARD": self.name,
            "TEXT3D_EXTENSIONS": "benchmarks.sleepers:ENTRIES",
            "TEXT3D_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": "1",
        }
        asked = [
            "--device",
            "cpu",
            "--select",
            "sleeper and reference",
            "--results",
            self.results,
            "--history",
            self.history,
        ]
        command = [self.root / "scripts" / "nightly", *asked, *options, "--", "-k", "sleeper-1", *FAST, *pytest]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*map(str, command)], cwd="/", env=environment | more, start_new_session=True, **pipes)

    def run(self, *options: str, **more) -> tuple[int, str]:
        night = self.start(*options, **more)
        said, _ = night.communicate(timeout=500)
        assert "Traceback" not in said, said
        return night.returncode, said

    @property
    def last(self) -> NightRecord:
        return read_night(self.results / "latest")

    def measured(self) -> list[Measurement]:
        return read_folder(self.history).measurements


pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv").exists(), reason="scripts/nightly runs with .venv, which is not here"
)


def waited_for(condition, seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(found)


def alive(name: str) -> list[int]:
    """Processes that carry the board's name, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"TEXT3D_BOARD={name}".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


ALL = ("-k", "sleeper")  # the last -k counts


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Board, int, str]:
    """A night of six cells that was killed after its first, and another that was started meanwhile: its exit status
    and what it said."""
    board = Board(tmp_path_factory.mktemp("killed"))
    night = board.start("--confirm", "never", pytest=ALL)
    try:
        assert waited_for(lambda: board.last is not None), night.poll()
        other = board.run("--confirm", "never", pytest=ALL)
        assert waited_for(lambda: list(board.history.glob("*/journal/*/sleeper-*.json"))), night.poll()
    finally:
        night.kill()
        night.communicate()
    assert waited_for(lambda: not alive(board.name), 30), "what a killed night started measures on"
    return board, *other


def test_a_second_night_on_the_board_ends_at_once(killed):
    _, status, said = killed
    assert status == 3 and said.splitlines() == [f"scripts/nightly: another night is running on {killed[0].name}"]


def test_a_night_that_was_killed_is_gone_on_with_and_measures_only_what_it_lacks(killed):
    board, *_ = killed
    cut, before = board.last, board.measured()
    assert (cut.exit_status, cut.running) == (None, "measure")
    assert 1 <= len(before) < 6
    status, said = board.run("--confirm", "never", pytest=ALL)
    assert status == GREEN, said
    assert "going on with the night of" in said
    log = (board.results / "latest" / "measure.log").read_text()
    assert f"resumed session {before[0].session}: {len(before)} measured" in log
    assert [path.name for path in board.results.glob("2*")] == [cut.began]
    assert board.last.exit_status == 0 and board.last.session == before[0].session
    now = board.measured()
    assert len(now) == 6 and all(m in now for m in before) and {m.session for m in now} == {before[0].session}
    assert open_journals(board.history / board.name) == []
    kept = read_folder(board.results / "latest" / "history" / board.name).measurements
    assert {m.configuration for m in kept} == {m.configuration for m in now}
    assert (board.results / "latest" / "tables" / "cpu.csv").is_file()
    assert (board.results / "latest" / "summary.md").read_text().startswith("## 🟢 green")


@pytest.fixture(scope="module")
def one_night(tmp_path_factory) -> Board:
    """A whole night, of which the tests below make histories."""
    board = Board(tmp_path_factory.mktemp("one"))
    status, said = board.run("--confirm", "never")
    assert status == GREEN, said
    return board


def after_measuring(board: Board, folder: Path, commit: str, nights: int) -> Board:
    """The same night, killed when it had measured, after made-up nights that took a third of its time."""
    copy = Board(folder, name=board.name)
    shutil.copytree(board.history, copy.history)
    shutil.copytree(board.results, copy.results, symlinks=True)
    was = board.last.model_dump(mode="json")
    cut = {"history": str(copy.history), "exit_status": None, "steps": {"measure": was["steps"]["measure"]}}
    NightRecord.model_validate(was | cut).write(copy.results / "latest")
    (tonight,) = board.measured()
    for night in range(nights):
        times = (1 + 0.01 * (-1) ** night) / 3
        past = {
            "session": f"202610{night + 1:02}T020000-7",
            "measured_at": f"2026-10-{night + 1:02}T02:00:00+00:00",
            "commit": commit,
            "latency": latency(times * tonight.latency.median.value),
        }
        session_file(copy.history / copy.name / f"{9000 + night}_made.json", [tonight.model_copy(update=past)])
    return copy


@pytest.mark.slow
def test_a_cell_that_lastingly_got_slower_ends_red(one_night, tmp_path):
    """Thirty nights of a third of the time, and then three of tonight's, of which tonight is the last."""
    board = after_measuring(one_night, tmp_path, "0123456789", nights=28)
    (tonight,) = one_night.measured()
    for night in (29, 30):
        slow = {"session": f"202610{night}T020000-7", "measured_at": f"2026-10-{night}T02:00:00+00:00"}
        session_file(board.history / board.name / f"{9000 + night}_made.json", [tonight.model_copy(update=slow)])
    status, said = board.run("--confirm", "never")
    assert status == REGRESSED, said
    assert "measure: done before" in said
    assert f"{CELL}, latency_ratio: ×" in said and said.splitlines()[-1].startswith("regressed: ")
    assert "🔴 regressed" in (board.results / "latest" / "summary.md").read_text()


@pytest.mark.slow
def test_what_cannot_be_compared_with_its_base_stays_uncertain_and_is_not_red(one_night, tmp_path):
    board = after_measuring(one_night, tmp_path, "deadbeef00", nights=6)
    status, said = board.run()
    assert status == GREEN, said
    assert f"{CELL}: uncertain: unknown commit 'deadbeef00'" in said
    summary = (board.results / "latest" / "summary.md").read_text()
    assert f"{CELL}, latency" in " ".join(board.last.uncertain) and "Not confirmed, so not red" in summary
    assert "Compared side by side" in summary and "deadbeef00" in summary


@pytest.mark.slow
def test_a_night_that_was_killed_while_it_compares_measures_nothing_again_and_compares(one_night, tmp_path):
    today = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    board = after_measuring(one_night, tmp_path, today[:10], nights=6)
    before = board.measured()
    night = board.start("--confirm", "suspicious", "--confirm-time-limit", "300")
    try:
        assert waited_for(lambda: board.last.running == "confirm" and len(alive(board.name)) > 3), night.poll()
    finally:
        night.kill()
        night.communicate()
    assert waited_for(lambda: not alive(board.name), 30), "what a killed night started measures on"
    status, said = board.run("--confirm", "suspicious", "--confirm-time-limit", "300")
    assert status == GREEN and "measure: done before" in said, said
    assert f"{CELL}: pass, ×" in said and board.measured() == before
    assert "base and head are alike side by side" in (board.results / "latest" / "judged.json").read_text()


@pytest.mark.slow
def test_a_disk_that_fills_up_while_cells_are_measured_is_not_green_and_keeps_what_there_is(tmp_path):
    board = Board(tmp_path)
    two = ("-k", "sleeper-1 or sleeper-2", "-p", "tests.full_disk")
    status, said = board.run("--confirm", "never", pytest=two)
    assert status == NOT_MEASURED, said
    assert "could not keep everything" in said and "cannot write" in said
    assert CELL in {m.configuration for m in board.measured()}
    assert board.last.exit_status == NOT_MEASURED


def test_a_machine_that_is_not_in_order_measures_nothing(tmp_path):
    board = Board(tmp_path)
    status, said = board.run(pytest=("-p", "tests.no_disk"))
    assert status == NOT_MEASURED, said
    assert "preflight: a check failed" in said and "free disk" in said
    assert board.measured() == [] and list(board.last.steps) == ["preflight"]
    assert "free disk" in (board.results / "latest" / "preflight.txt").read_text()


@pytest.mark.slow
def test_a_throttled_board_is_not_green(tmp_path):
    board = Board(tmp_path)
    status, said = board.run(pytest=("-p", "tests.odd_night"), TEXT3D_TEST_NIGHT="held-back")
    assert status == NOT_MEASURED, said
    assert "no cell has a latency that can be trusted" in said and "check the power supply" in said
    assert {m.status for m in board.measured()} == {Status.THROTTLED}


def test_where_nothing_can_be_written_and_for_a_device_that_is_not_known_a_line_says_so(tmp_path):
    board = Board(tmp_path)
    board.results.write_text("a file where the folder should be")
    status, said = board.run()
    assert status == NOT_MEASURED and "not measured: cannot write" in said
    board.results.unlink()
    status, said = board.run("--device", "cpo")
    assert status == NOT_MEASURED and "unknown device 'cpo'; nearest: cpu" in said


@pytest.mark.slow
def test_a_slower_commit_is_confirmed_beside_the_last_good_one_and_ends_red(tmp_path):
    """One surprising night would be uncertain. Base and head side by side make it red."""
    clone = Clone(tmp_path / "clone")
    (clone.root / ".venv").symlink_to(Path(sys.prefix))
    board = Board(tmp_path, clone.root)
    status, said = board.run("--confirm", "never")
    assert status == GREEN, said
    (good,) = board.measured()
    assert good.commit == clone.today[:10]
    for night in range(6):
        when = {"session": f"202610{night + 1:02}T020000-7", "measured_at": f"2026-10-{night + 1:02}T02:00:00+00:00"}
        session_file(board.history / board.name / f"{9000 + night}_made.json", [good.model_copy(update=when)])
    slow = clone.commit("Sleeps longer", sleepers=("OBJECT_S = 0.02", "OBJECT_S = 0.08"))
    status, said = board.run("--confirm-time-limit", "200")
    assert status == REGRESSED, said
    assert "confirmed side by side" in said and f"of {clone.today[:10]}" in said
    (judged,) = json.loads((board.results / "latest" / "judged.json").read_text())
    (latency,) = [f for f in judged["findings"] if f["quantity"].startswith("latency")]
    assert latency["cause"]["kind"] == "code" and latency["first_bad_commit"] == slow[:10]
    assert latency["last_good_commit"] == clone.today[:10]
    assert clone.nothing_is_left()
