"""Real pytest sessions on the real suite, as a user would type them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suite.configurations import matrix
from suite.devices.backend import slug
from suite.history import Journal, read_folder
from suite.recording import RunLock
from suite.records import Measurement

ROOT = Path(__file__).parents[1]
TRUE = ["--quality-prompts", "2", "--time-budget", "0.3"]
FAST = ["-p", "tests.quick_reference", *TRUE]
CELL = "suite/test_configurations.py::test_configuration[point-e-nano-text/{}@cpu]"
ORIN_CELLS = sum(configuration.device.name == "orin" for configuration in matrix())


@pytest.fixture
def bench(tmp_path):
    """Run pytest in the checkout, with a board and a history of its own."""
    board = slug(f"test {tmp_path.name} {os.getpid()}")
    environment = os.environ | {"TEXT3D_BOARD": board}

    def run(*arguments: str, start: bool = False, **more: str):
        command = [sys.executable, "-m", "pytest", *arguments, f"--benchmark-storage=file://{tmp_path}"]
        keywords = dict(cwd=ROOT, env=environment | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return subprocess.Popen(command, **keywords) if start else subprocess.run(command, **keywords, timeout=300)

    run.folder = tmp_path / board
    run.board = board
    return run


def journals(folder: Path) -> list[Journal]:
    return [Journal(path) for path in sorted((folder / "journal").iterdir())]


def test_the_orin_command_verbatim_passes_here_and_skips_every_cell_with_the_reason():
    command = [Path(sys.executable).with_name("pytest"), "-m", "orin", "--benchmark-save"]
    result = subprocess.run([*command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    detailed = subprocess.run([*command, "-rs"], cwd=ROOT, capture_output=True, text=True, timeout=120).stdout
    assert "this is no NVIDIA Jetson AGX Orin" in detailed
    assert f"{ORIN_CELLS} skipped" in detailed and "passed" not in detailed.splitlines()[-1]


def test_require_device_turns_not_here_into_failures(bench):
    result = bench("-m", "orin", "--require-device", "orin")
    assert result.returncode == 1
    assert f"{ORIN_CELLS} failed" in result.stdout and "not-here" in result.stdout


def test_unknown_names_are_answered_with_the_nearest(bench):
    assert "nearest: orin" in bench("--require-device", "orion").stdout
    assert "unknown mark 'orion'; nearest: orin" in bench("-m", "orion").stdout
    assert (
        "unknown model 'point-e-nano-txt'; nearest: point-e-nano-text"
        in bench("suite/test_configurations.py::test_configuration[point-e-nano-txt/fp32@cpu]").stdout
    )
    assert "--quality-prompts: 5000 is not possible" in bench("--quality-prompts", "5000").stdout


def test_a_path_after_bare_benchmark_save_is_not_swallowed_as_its_name(bench):
    result = bench("--benchmark-save", "tests")
    assert result.returncode != 0 and "would take the path 'tests'" in result.stdout


def test_plain_pytest_selects_this_machines_smoke_cells_and_says_so(bench):
    result = bench("--collect-only", "-q")
    assert "runs this machine's smoke cells" in result.stdout
    cells = [line for line in result.stdout.splitlines() if "test_configuration[" in line]
    assert cells and all(cell.endswith("@cpu]") for cell in cells)
    assert any("/fp32@cpu" in cell for cell in cells) and not any("/w3@cpu" in cell for cell in cells)


def test_a_run_is_saved_listed_and_compared(bench):
    for name, options in (("first", TRUE), ("second", FAST)):
        result = bench(CELL.format("steps-4"), *options, f"--benchmark-save={name}")
        assert result.returncode == 0, result.stdout
    files = sorted(bench.folder.glob("*.json"))
    assert [path.name for path in files] == ["0001_first.json", "0002_second.json"]
    content = json.loads(files[0].read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (row,) = content["benchmarks"]
    (cell,) = content["cells"]
    assert row["extra_info"]["measurement"] == cell
    assert row["stats"]["rounds"] == len(cell["latency"]["samples_s"])
    assert row["stats"]["median"] == pytest.approx(cell["latency"]["median"]["value"])
    assert content["machine_info"]["board"] == bench.board
    assert cell["reference"]["configuration"] == "point-e-nano-text/fp32@cpu"  # measured though not selected
    assert cell["smoke"] is True
    storage = f"--storage=file://{bench.folder.parent}"
    tool = Path(sys.executable).with_name("pytest-benchmark")
    listed = subprocess.run([tool, storage, "list"], capture_output=True, text=True, cwd=ROOT)
    assert "0001_first.json" in listed.stdout
    compared = subprocess.run([tool, storage, "compare"], capture_output=True, text=True, cwd=ROOT)
    assert compared.returncode == 0 and "steps-4@cpu" in compared.stdout


@pytest.fixture
def budgets(tmp_path):
    """The project's budgets, with others for steps-4 on the processor; what an inner session needs to use them."""

    def replace(**limits: float) -> dict[str, str]:
        folder = tmp_path / "budgets"
        folder.mkdir()
        for path in (ROOT / "suite/budgets").glob("*.toml"):
            lines = path.read_text().splitlines()
            if path.stem == "cpu":
                cell = '"point-e-nano-text/steps-4"'
                lines = [line for line in lines if not line.startswith(cell)]
                lines += [
                    f'{cell}.{name} = {{ limit = {x}, source = "measured", reason = "test" }}'
                    for name, x in limits.items()
                ]
            (folder / path.name).write_text("\n".join(lines))
        return {"TEXT3D_TEST_BUDGETS": str(folder)}

    return replace


def test_broken_budgets_fail_their_subtests_with_value_interval_and_command(bench, budgets):
    more = budgets(latency_ratio=1e-9, peak_memory_bytes=1000)
    # Two seconds: an interval needs a second round of the reference too.
    result = bench("-p", "tests.other_budgets", CELL.format("steps-4"), *FAST, "--time-budget", "2", **more)
    assert result.returncode == 1, result.stdout
    assert "over budget: peak_memory_bytes: " in result.stdout and "budget at most 1000" in result.stdout
    assert "over budget: latency_ratio: " in result.stdout and "budget at most 1e-09" in result.stdout
    assert 'pytest "suite/test_configurations.py::test_configuration[point-e-nano-text/steps-4@cpu]"' in result.stdout
    (measurement,) = journals(bench.folder)[0].read().measurements
    assert {name: verdict.value for name, verdict in measurement.verdicts.items()} == {
        "latency_ratio": "over-budget", "peak_memory_bytes": "over-budget"
    }  # fmt: skip


def test_a_broken_quality_budget_fails_alone(bench, budgets):
    more = budgets(r_precision=1.01, peak_memory_bytes=1e12)
    result = bench("-p", "tests.other_budgets", CELL.format("steps-4"), *FAST, **more)
    assert result.returncode == 1, result.stdout
    assert "over budget: r_precision: " in result.stdout and "budget at least 1.01" in result.stdout
    assert "over budget: peak_memory_bytes" not in result.stdout
    (measurement,) = journals(bench.folder)[0].read().measurements
    assert {name: verdict.value for name, verdict in measurement.verdicts.items()} == {
        "r_precision": "over-budget", "peak_memory_bytes": "pass"
    }  # fmt: skip


def test_a_killed_run_loses_no_finished_cell_and_resume_does_only_the_rest(bench):
    cells = [CELL.format(recipe) for recipe in ("fp32", "steps-8", "steps-4", "w3")]
    process = bench(*cells, *FAST, start=True)
    deadline = time.monotonic() + 120
    while not (finished := list(bench.folder.glob("journal/*/*.json"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    first = {m.configuration: m.measured_at for m in read_folder(bench.folder).measurements}
    assert finished and "point-e-nano-text/fp32@cpu" in first and len(first) < 4

    resumed = bench(*cells, *FAST, "--resume", "--benchmark-save=resumed")
    assert resumed.returncode == 0, resumed.stdout
    assert f"{len(first)} measured" in resumed.stdout
    (journal,) = journals(bench.folder)
    assert journal.closed
    second = {m.configuration: m.measured_at for m in journal.read().measurements}
    assert len(second) == 4 and first.items() <= second.items()  # the finished ones were not measured again
    saved = json.loads((bench.folder / "0001_resumed.json").read_text())
    assert len(saved["cells"]) == 4


def left_open(bench, *cells: str, **more: str) -> dict[str, Measurement]:
    """A session that measured these cells and was then killed, as its journal tells."""
    result = bench(*map(CELL.format, cells), *FAST, **more)
    assert result.returncode == 0, result.stdout
    (journal,) = journals(bench.folder)
    (journal.folder / "closed").unlink()
    return {m.configuration: m for m in journal.read().measurements}


def test_resuming_measures_again_what_was_measured_otherwise_and_says_why(bench):
    first = left_open(bench, "steps-8", "steps-4", TEXT3D_THREADS="1")
    cells = [CELL.format("steps-4")]
    more = {"TEXT3D_THREADS": "1"}
    resumed = bench(*cells, *FAST, "--quality-prompts", "3", "--resume", "--benchmark-save=again", **more)
    assert resumed.returncode == 0, resumed.stdout
    assert resumed.stdout.count("measured again: 1 cell, journal has 2 prompts, this session asks for 3") == 1
    assert "1 measured" in resumed.stdout  # steps-8 was not asked for: it stays
    (journal,) = journals(bench.folder)
    second = {m.configuration: m for m in journal.read().measurements}
    prompts = {name.split("/")[1]: len(m.quality.outcomes) for name, m in second.items()}
    assert prompts == {"steps-4@cpu": 3, "steps-8@cpu": 2}
    kept = {m.measured_at for m in read_folder(bench.folder).measurements}
    assert {m.measured_at for m in first.values()} <= kept  # nothing is lost


def test_resuming_takes_no_reference_that_was_measured_otherwise(bench):
    first = left_open(bench, "fp32", TEXT3D_THREADS="1")
    resumed = bench(CELL.format("steps-4"), *FAST, "--resume", "-rs", TEXT3D_THREADS="2")
    assert resumed.returncode == 0, resumed.stdout
    read = journals(bench.folder)[0].read()
    assert read.problems == []
    (new,) = (m for m in read.measurements if "steps-4" in m.configuration)
    assert new.reference.measured_at > first["point-e-nano-text/fp32@cpu"].measured_at


def test_a_board_is_sought_only_by_a_session_that_needs_one_and_once(tmp_path, bench):
    """A stand-in for NVML counts how often it is asked."""
    asked = tmp_path / "asked"
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pynvml.py").write_text(
        f"class NVMLError(Exception): pass\ndef nvmlInit():\n    open({str(asked)!r}, 'a').write('x')\n"
        "    raise NVMLError('no driver')\n"
    )
    more = {"PYTHONPATH": str(tmp_path / "fake")}
    assert bench("tests/test_intervals.py", "-q", **more).returncode == 0
    assert not asked.exists()
    result = bench("-m", "t4 or h100", "-rs", **more)
    assert result.returncode == 0 and "no driver" in result.stdout
    assert len(asked.read_text()) == 2  # once for each NVIDIA device of the catalogue


def test_the_next_run_recovers_a_killed_one_into_the_storage(bench):
    process = bench(CELL.format("steps-4"), CELL.format("fp32"), *FAST, start=True)
    deadline = time.monotonic() + 120
    while not list(bench.folder.glob("journal/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    process.stdout.close()
    result = bench(CELL.format("steps-8"), *FAST)
    assert "ended early" in result.stdout and "recovered into 0001_recovered-" in result.stdout
    (recovered,) = bench.folder.glob("0001_recovered-*.json")
    content = json.loads(recovered.read_text())
    assert [row["param"] for row in content["benchmarks"]] == [cell["configuration"] for cell in content["cells"]]
    assert all(journal.closed for journal in journals(bench.folder))


def test_a_second_run_at_the_same_time_waits_and_then_says_who_is_measuring(bench):
    lock = RunLock(bench.board)
    lock.acquire(0, print)
    try:
        result = bench(CELL.format("steps-4"), *FAST, "--lock-patience", "1")
    finally:
        lock.release()
        lock.path.unlink()
    assert result.returncode == 4
    assert f"process {os.getpid()} is measuring on this board" in result.stdout


def test_a_history_that_cannot_be_written_is_said_before_anything_is_measured(bench):
    bench.folder.parent.mkdir(exist_ok=True)
    bench.folder.write_text("a file where the board's folder should be")
    started = time.monotonic()
    result = bench(CELL.format("steps-4"), *FAST)
    assert result.returncode == 4, result.stdout
    assert "cannot write" in result.stdout and str(bench.folder) in result.stdout
    assert time.monotonic() - started < 30


def test_words_that_an_embedded_model_does_not_know_make_its_cell_unsupported_and_nothing_else(bench, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("a red cube\na red zebra\n")
    full_size = "suite/test_configurations.py::test_configuration[point-e-40m-text/fp32@cpu]"
    cells = [CELL.format("fp32"), full_size]
    result = bench(*cells, *FAST, "--prompts", str(file), "-rs", TEXT3D_WEIGHTS=str(tmp_path / "none"))
    assert result.returncode == 0 and "2 skipped" in result.stdout, result.stdout
    assert "unsupported: mine.txt, line 2: the embedded models do not know the word 'zebra'" in result.stdout
    assert "needs-weights: " in result.stdout  # as far as a full-size model comes here
    (journal,) = journals(bench.folder)
    (kept,) = journal.read().measurements
    assert (kept.status.value, kept.model, kept.smoke) == ("unsupported", "point-e-nano-text", True)
    unscored = bench(CELL.format("w3"), "--quality-prompts", "0", "--prompts", str(file))
    assert unscored.returncode == 0 and "1 passed" in unscored.stdout, unscored.stdout  # nothing is asked of the file


def test_a_composed_recipe_is_measured_by_its_name(bench):
    result = bench(CELL.format("bf16+steps-4"), *TRUE, "--benchmark-save=made")
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout
    (row,) = json.loads((bench.folder / "0001_made.json").read_text())["cells"]
    assert row["optimization"] == "bf16+steps-4" and row["evaluations"] == 14
    assert row["reference"]["latency"]["value"] > row["latency"]["median"]["value"]
    wrong = bench(CELL.format("bf16+w3"), *FAST)
    assert wrong.returncode != 0 and "bf16 and w3 both set the arithmetic" in wrong.stdout


def test_random_weights_of_an_embedded_model_are_skipped_with_what_exists(bench):
    result = bench(CELL.format("steps-4"), "--weights", "random", "-rs")
    assert result.returncode == 0
    assert "has no random weights; it has: embedded" in result.stdout
    assert not bench.folder.exists() or not list(bench.folder.glob("journal/*/*.json"))


def test_an_extrapolated_latency_is_said_everywhere_and_has_no_latency_budget(bench, budgets):
    more = budgets(latency_ratio=1e-9, peak_memory_bytes=1e12)
    options = ["--extrapolate", "always", "--quality-prompts", "0", "--time-budget", "0.3", "--benchmark-save=told"]
    result = bench("-p", "tests.other_budgets", CELL.format("steps-4"), *options, "-rs", **more)
    assert result.returncode == 0, result.stdout
    assert (
        "≈ extrapolated from a few network evaluations" in result.stdout and "benchmark 'extrapolated'" in result.stdout
    )
    content = json.loads((bench.folder / "0001_told.json").read_text())
    (row,), (cell,) = content["benchmarks"], content["cells"]
    assert row["group"] == "extrapolated" and row["extra_info"]["measurement"] == cell
    assert cell["extrapolated"] and cell["quality"] is None and cell["verdicts"] == {"peak_memory_bytes": "pass"}
    assert cell["latency"]["extrapolation"]["base diffusion"]["evaluations"] == 7
    assert cell["reference"]["latency"]["value"] > cell["latency"]["median"]["value"]  # of 127 evaluations, told too


def test_a_simulated_recipe_with_random_weights_has_nothing_to_measure(bench):
    cell = "suite/test_configurations.py::test_configuration[point-e-40m-text/w3@cpu]"
    result = bench(cell, "--weights", "random", "-rs")
    assert result.returncode == 0, result.stdout
    assert "a simulated recipe has nothing but a quality, and random weights have none" in result.stdout
