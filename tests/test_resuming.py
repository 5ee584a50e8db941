"""Sessions that were killed: what is kept of them, and what `--resume` measures again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from suite.history import read_folder
from suite.records import Measurement
from tests.test_plugin import CELL, FAST, ROOT, bench_in, journals


def copied(bench, folder: Path):
    """The same board elsewhere, with all that is in its history."""
    copy = bench_in(folder, bench.board)
    shutil.copytree(bench.folder, copy.folder)
    return copy


FOUR = [CELL.format(recipe) for recipe in ("fp32", "steps-8", "steps-4", "w3")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The board of a session of four cells that was killed when one was finished."""
    bench = bench_in(tmp_path_factory.mktemp("killed"))
    command, environment = bench.command(*FOUR, *FAST)
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 1200
    while not list(bench.folder.glob("journal/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return bench


def test_a_killed_run_loses_no_finished_cell_and_resume_does_only_the_rest(killed, tmp_path):
    bench = copied(killed, tmp_path)
    first = {m.configuration: m.measured_at for m in read_folder(bench.folder).measurements}
    assert "point-e-nano-text/fp32@cpu" in first and len(first) < 4

    resumed = bench(*FOUR, *FAST, "--resume", "--benchmark-save=resumed")
    assert resumed.returncode == 0, resumed.stdout
    assert f"{len(first)} measured" in resumed.stdout
    (journal,) = journals(bench.folder)
    assert journal.closed
    second = {m.configuration: m.measured_at for m in journal.read().measurements}
    assert len(second) == 4 and first.items() <= second.items()  # the finished ones were not measured again
    saved = json.loads((bench.folder / "0001_resumed.json").read_text())
    assert len(saved["cells"]) == 4


@pytest.fixture(scope="module")
def left_open(tmp_path_factory):
    """The board of a session that ran four cells on one thread and was then killed, as its journal tells."""
    bench = bench_in(tmp_path_factory.mktemp("left-open"))
    cells = ("fp32", "steps-8", "steps-4", "sparse-decode")  # the last is found to be unsupported by a worker
    result = bench(*map(CELL.format, cells), *FAST, TEXT3D_THREADS="1")
    assert result.returncode == 0, result.stdout
    (journal,) = journals(bench.folder)
    (journal.folder / "closed").unlink()
    return bench


def measured_in(bench) -> dict[str, Measurement]:
    (journal,) = journals(bench.folder)
    return {m.configuration: m for m in journal.read().measurements}


def test_resuming_measures_again_what_was_measured_otherwise_and_says_why(left_open, tmp_path):
    bench = copied(left_open, tmp_path)
    first = measured_in(bench)
    cells = [CELL.format("steps-4"), CELL.format("sparse-decode")]
    more = {"TEXT3D_THREADS": "1"}
    resumed = bench(*cells, *FAST, "--quality-prompts", "3", "--resume", "--benchmark-save=again", **more)
    assert resumed.returncode == 0, resumed.stdout
    assert resumed.stdout.count("measured again: 1 cell, journal has 2 prompts, this session asks for 3") == 1
    assert "3 measured" in resumed.stdout  # steps-8 was not asked for: it stays, and so does the reference
    second = measured_in(bench)
    unsupported = second.pop("point-e-nano-text/sparse-decode@cpu")
    assert unsupported == first["point-e-nano-text/sparse-decode@cpu"]
    prompts = {name.split("/")[1]: len(m.quality.outcomes) for name, m in second.items()}
    assert prompts == {"fp32@cpu": 2, "steps-4@cpu": 3, "steps-8@cpu": 2}
    kept = {m.measured_at for m in read_folder(bench.folder).measurements}
    assert {m.measured_at for m in first.values()} <= kept  # nothing is lost


def test_resuming_takes_no_reference_that_was_measured_otherwise(left_open, tmp_path):
    bench = copied(left_open, tmp_path)
    first = measured_in(bench)
    resumed = bench(CELL.format("steps-4"), *FAST, "--resume", "-rs", TEXT3D_THREADS="2")
    assert resumed.returncode == 0, resumed.stdout
    read = journals(bench.folder)[0].read()
    assert read.problems == []
    (new,) = (m for m in read.measurements if "steps-4" in m.configuration)
    assert new.reference.measured_at > first["point-e-nano-text/fp32@cpu"].measured_at


def test_the_next_run_recovers_a_killed_one_into_the_storage(killed, tmp_path):
    bench = copied(killed, tmp_path)
    result = bench(CELL.format("steps-8"), *FAST)
    assert "ended early" in result.stdout and "recovered into 0001_recovered-" in result.stdout
    (recovered,) = bench.folder.glob("0001_recovered-*.json")
    content = json.loads(recovered.read_text())
    assert [row["param"] for row in content["benchmarks"]] == [cell["configuration"] for cell in content["cells"]]
    assert all(journal.closed for journal in journals(bench.folder))
