"""pytest's and its plugins' other habits: each works, or is refused in a line before anything is measured."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from suite.history import LOCAL
from suite.session.benchmark_bridge import DEFAULT_STORAGE, keep_default_storage
from tests.test_plugin import CELL, FAST, ROOT, bench  # noqa: F401 - a fixture

STEPS = CELL.format("steps-4")


def refused(result, bench, words: str) -> None:
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout
    assert words in result.stdout and "INTERNALERROR" not in result.stdout
    assert not (bench.folder / "journal").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-n", "2"], "cells are measured one at a time"),
        (["-n", "1", "--benchmark-save=x"], "cells are measured one at a time"),
        (["--benchmark-disable"], "--benchmark-disable would keep what is measured out"),
        (["--benchmark-compare", "--benchmark-compare-fail=median:10%"], "nothing is saved in"),
        (["--benchmark-compare-fail=median:10%"], "a --benchmark-compare, which was not given"),
    ],
)
def test_an_option_that_could_only_fail_at_the_end_is_refused_at_the_start(bench, options, words):
    refused(bench(STEPS, *FAST, *options), bench, words)


def test_a_picture_of_the_history_needs_its_packages_from_the_start(bench):
    if importlib.util.find_spec("pygal") is not None:
        pytest.skip("pygal is here")
    refused(bench(STEPS, *FAST, "--benchmark-histogram"), bench, "--benchmark-histogram needs pygal and pygaljs")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-p", "no:benchmark"], "pytest-benchmark, which -p no:benchmark switched off"),
        (["--benchmark-storage=elasticsearch+http://localhost:9/x"], "only a folder can hold the history here"),
    ],
)
def test_another_storage_or_none_is_refused_in_a_line(options, words):
    command = [sys.executable, "-m", "pytest", STEPS, *FAST, *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert words in result.stdout + result.stderr and "INTERNALERROR" not in result.stdout


def test_the_projects_own_tests_run_without_pytest_benchmark():
    command = [sys.executable, "-m", "pytest", "tests/test_intervals.py", "-q", "-p", "no:benchmark"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300).returncode == 0


def test_a_rerun_measures_again_and_its_cell_has_one_row_though_nothing_speaks_for_pytest(bench):
    """Without terminal and capture, and the reference dies: a session of everything that is not as usual."""
    odd = ["-p", "tests.twice", "-p", "tests.dead_reference", "-p", "no:terminal", "-p", "no:capture"]
    result = bench(STEPS, *FAST, *odd, "--benchmark-save=odd")
    assert result.returncode == 1, result.stdout
    assert "measured again: point-e-nano-text/steps-4@cpu" in result.stdout
    superseded, saved = sorted(bench.folder.glob("*.json"))
    assert "superseded" in superseded.name
    (first,), content = json.loads(superseded.read_text())["cells"], json.loads(saved.read_text())
    (row,), (cell,) = content["benchmarks"], content["cells"]
    assert row["extra_info"]["measurement"] == cell
    assert first["measured_at"] < cell["measured_at"]
    assert cell["latency"] is not None and cell["reference"] is None


def test_a_dead_reference_is_said_and_not_green(bench):
    result = bench(STEPS, *FAST, "-p", "tests.dead_reference")
    assert result.returncode == 1
    assert "its reference point-e-nano-text/fp32@cpu is crashed, so no ratio was held: segmentation" in result.stdout


def test_a_session_whose_workers_cannot_start_ends_in_a_line_and_leaves_nothing_open(bench):
    little = 400_000 * 1024
    command = [sys.executable, "-m", "pytest", STEPS, *FAST, f"--benchmark-storage={bench.folder.parent}"]
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"TEXT3D_BOARD": bench.board},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (little, little)),
    )
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout
    assert "no worker can be started" in result.stdout and "Is there enough memory" in result.stdout
    assert not (bench.folder / "journal").exists()


def test_a_required_device_that_was_skipped_for_whatever_reason_is_red(bench):
    result = bench(STEPS, *FAST, "--require-device", "cpu", "--benchmark-skip")
    assert result.returncode == 1
    assert "--require-device cpu: no cell has a latency that can be trusted" in result.stdout


def test_the_storage_does_not_depend_on_the_folder_that_pytest_is_started_in():
    config = SimpleNamespace(option=SimpleNamespace(benchmark_storage=DEFAULT_STORAGE))
    keep_default_storage(config)
    assert config.option.benchmark_storage == f"file://{LOCAL}"
    named = SimpleNamespace(option=SimpleNamespace(benchmark_storage="file://elsewhere"))
    keep_default_storage(named)
    assert named.option.benchmark_storage == "file://elsewhere"


def test_pytest_benchmarks_default_storage_is_still_the_one_that_is_mended(pytestconfig):
    parser = pytestconfig._parser
    (option,) = (o for o in parser.getgroup("benchmark").options if "--benchmark-storage" in o.names())
    assert option.attrs()["default"] == DEFAULT_STORAGE
