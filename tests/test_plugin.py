"""Real pytest sessions on the real suite, as a user would type them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from suite.configurations import matrix
from suite.devices.backend import slug
from suite.saving import Journal
from suite.session.run_lock import RunLock
from tests import warm_server

ROOT = Path(__file__).parents[1]
FAST = ["-p", "tests.quick_cells", "--quality-prompts", "2", "--time-budget", "0.3"]
CELL = "suite/test_configurations.py::test_configuration[point-e-nano-text/{}@cpu]"
ORIN_CELLS = sum(configuration.device.name == "orin" for configuration in matrix())


def bench_in(folder: Path, board: str | None = None):
    """Runs pytest in the checkout, with a history in the folder and a board of its own, or of this name. It and its
    workers are forked from the test process's server, which saves seconds (`tests.warm_server`)."""
    board = board or slug(f"test {folder.name} {os.getpid()}")
    storage = f"--benchmark-storage=file://{folder}"

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess:
        return warm_server.session(*arguments, storage, TEXT3D_BOARD=board, **more)

    def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
        """The same as a command, and its environment, for a session that is ended from outside. Its workers have a
        server of its own: one that loses a client in mid-request ends, and would take the other tests' sessions along.
        """
        words = [sys.executable, "-m", "pytest", *arguments, storage]
        return words, os.environ | {"TEXT3D_BOARD": board}

    run.folder = folder / board
    run.board = board
    run.command = command
    return run


@pytest.fixture
def bench(tmp_path):
    return bench_in(tmp_path)


def journals(folder: Path) -> list[Journal]:
    return [Journal(path) for path in sorted((folder / "journal").iterdir())]


def test_the_orin_command_verbatim_passes_here_and_skips_every_cell_with_the_reason():
    command = [Path(sys.executable).with_name("pytest"), "-m", "orin", "--benchmark-save"]
    said = os.environ | {"PYTEST_ADDOPTS": "-rs"}  # the reasons too, with the command as it is
    result = subprocess.run(command, cwd=ROOT, env=said, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "this is no NVIDIA Jetson AGX Orin" in result.stdout
    assert f"{ORIN_CELLS} skipped" in result.stdout and "passed" not in result.stdout.splitlines()[-1]


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


def test_a_selected_reference_is_first_since_what_is_held_against_it_would_measure_it_besides(bench):
    asked = ["steps-4", "fp32", "w3", "fp32"]
    result = bench("--collect-only", "-q", *map(CELL.format, asked))
    cells = [line for line in result.stdout.splitlines() if "test_configuration[" in line]
    assert cells == [CELL.format(recipe) for recipe in ("fp32", "steps-4", "w3")]


def test_a_run_is_saved_listed_and_compared(bench):
    for name in ("first", "second"):
        result = bench(CELL.format("steps-4"), *FAST, f"--benchmark-save={name}")
        assert result.returncode == 0, result.stdout
    files = sorted(bench.folder.glob("*.json"))
    assert [path.name for path in files] == ["0001_first.json", "0002_second.json"]
    text = files[0].read_text()
    assert "\n" not in text  # of a session's 10 MB, indents were 6
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (row,) = content["benchmarks"]
    (cell,) = content["cells"]
    assert row["extra_info"]["measurement"] == cell
    assert row["stats"]["rounds"] == len(cell["latency"]["samples_s"])
    assert row["stats"]["median"] == pytest.approx(cell["latency"]["median"]["value"])
    assert content["machine_info"]["board"] == bench.board
    assert cell["reference"]["configuration"] == "point-e-nano-text/fp32@cpu"  # measured though not selected
    assert cell["smoke"] is True
    assert cell["fingerprint"]["settings"] == "GOMP_SPINCOUNT=0 OMP_WAIT_POLICY=PASSIVE"  # of tests/conftest.py
    storage = f"--storage=file://{bench.folder.parent}"
    tool = Path(sys.executable).with_name("pytest-benchmark")
    listed = subprocess.run([tool, storage, "list"], capture_output=True, text=True, cwd=ROOT)
    assert "0001_first.json" in listed.stdout
    compared = subprocess.run([tool, storage, "compare"], capture_output=True, text=True, cwd=ROOT)
    assert compared.returncode == 0 and "steps-4@cpu" in compared.stdout


def test_a_ratio_is_to_the_reference_timed_in_turn_with_the_cell(bench):
    cells = [CELL.format(name) for name in ("steps-4", "distilled-2")]
    result = bench(*cells, *FAST, "--benchmark-save=turns")
    assert result.returncode == 0, result.stdout
    (path,) = bench.folder.glob("*.json")
    first, second = json.loads(path.read_text())["cells"]
    assert first["reference"]["configuration"] == "point-e-nano-text/fp32@cpu"
    moments = [cell["reference"]["measured_at"] for cell in (first, second)]
    assert moments[0] < first["measured_at"] < moments[1] < second["measured_at"]


def test_else_a_ratio_is_to_the_timing_of_the_reference_before_it(bench):
    cells = [CELL.format(name) for name in ("steps-4", "distilled-2")]
    result = bench("-p", "tests.old_at_once", *cells, *FAST, "--benchmark-save=slow")
    assert result.returncode == 0, result.stdout
    (path,) = bench.folder.glob("*.json")
    held = {cell["configuration"]: cell for cell in json.loads(path.read_text())["cells"]}
    assert len(held) == 2  # a reference that was timed for others is no cell
    first, second = (cell["reference"] for cell in held.values())
    assert first["configuration"] == second["configuration"] == "point-e-nano-text/fp32@cpu"
    assert first["measured_at"] < second["measured_at"]
    assert re.search(r"point-e-nano-text/fp32@cpu took .* in 2 timings: ", result.stdout)


def other_budgets(folder: Path, **recipes: dict[str, float]) -> dict[str, str]:
    """The project's budgets with others for these recipes on the processor; what an inner session needs to use them."""
    folder.mkdir()
    for path in (ROOT / "suite/budgets").glob("*.toml"):
        lines = path.read_text().splitlines()
        for recipe, limits in recipes.items() if path.stem == "cpu" else ():
            cell = f'"point-e-nano-text/{recipe}"'
            lines = [line for line in lines if not line.startswith(cell)]
            lines += [
                f'{cell}.{b} = {{ limit = {x}, source = "measured", reason = "test" }}' for b, x in limits.items()
            ]
        (folder / path.name).write_text("\n".join(lines))
    return {"TEXT3D_TEST_BUDGETS": str(folder)}


@pytest.fixture
def budgets(tmp_path):
    """Other budgets for steps-4."""
    return lambda **limits: other_budgets(tmp_path / "budgets", **{"steps-4": limits})


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A session whose two cells break budgets: steps-4 those of time and memory, steps-8 that of quality alone."""
    bench = bench_in(tmp_path_factory.mktemp("broken"))
    more = other_budgets(
        bench.folder.parent / "budgets",
        **{
            "steps-4": {"latency_ratio": 1e-9, "peak_memory_bytes": 1000},
            "steps-8": {"r_precision": 1.01, "peak_memory_bytes": 1e12},
        },
    )
    cells = [CELL.format(recipe) for recipe in ("steps-4", "steps-8")]
    # Two seconds: an interval needs a second round of the reference too.
    result = bench("-p", "tests.other_budgets", *cells, *FAST, "--time-budget", "2", **more)
    assert result.returncode == 1, result.stdout
    return result, {m.optimization: m for m in journals(bench.folder)[0].read().measurements}


def test_broken_budgets_fail_their_subtests_with_value_interval_and_command(broken):
    result, measured = broken
    assert "over budget: peak_memory_bytes: " in result.stdout and "budget at most 1000" in result.stdout
    assert "over budget: latency_ratio: " in result.stdout and "budget at most 1e-09" in result.stdout
    assert 'pytest "suite/test_configurations.py::test_configuration[point-e-nano-text/steps-4@cpu]"' in result.stdout
    assert {name: verdict.value for name, verdict in measured["steps-4"].verdicts.items()} == {
        "latency_ratio": "over-budget",
        "peak_memory_bytes": "over-budget",
    }


def test_a_broken_quality_budget_fails_alone(broken):
    result, measured = broken
    assert "over budget: r_precision: " in result.stdout and "budget at least 1.01" in result.stdout
    assert result.stdout.count("over budget: peak_memory_bytes: ") == result.stdout.count("budget at most 1000")
    assert {name: verdict.value for name, verdict in measured["steps-8"].verdicts.items()} == {
        "r_precision": "over-budget",
        "peak_memory_bytes": "pass",
    }


def test_a_board_is_sought_only_by_a_session_that_needs_one_and_once(tmp_path, bench):
    """A stand-in for NVML counts how often it is asked."""
    asked = tmp_path / "asked"
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pynvml.py").write_text(
        f"class NVMLError(Exception): pass\ndef nvmlInit():\n    open({str(asked)!r}, 'a').write('x')\n"
        "    raise NVMLError('no driver')\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command, environment = bench.command(*arguments)
        environment |= {"PYTHONPATH": str(tmp_path / "fake")}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)

    assert run("tests/test_intervals.py", "-q").returncode == 0
    assert not asked.exists()
    result = run("-m", "t4 or h100", "-rs")
    assert result.returncode == 0 and "no driver" in result.stdout
    assert len(asked.read_text()) == 2  # once for each NVIDIA device of the catalogue


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
    result = bench("-p", "tests.no_measuring", CELL.format("steps-4"), *FAST)
    assert result.returncode == 4, result.stdout
    assert "cannot write" in result.stdout and str(bench.folder) in result.stdout


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red cube\nA red cube\na blue ball\na blue ball.\n", "line 2: 'A red cube' is read like line 1"),
        ("a red cube\nA small green cylinder on a cyan ball.\n", "line 2: .*'a small green cylinder on a cyan ball'"),
        ("a red cube\n" + "红色的立方体" * 20 + "和猫\n", r"line 2: \d\d\d tokens"),
    ],
)
def test_prompts_that_a_reader_cannot_tell_apart_are_refused_before_anything_is_measured(bench, tmp_path, text, words):
    file = tmp_path / "mine.txt"
    file.write_text(text)
    result = bench("-p", "tests.no_measuring", CELL.format("fp32"), *FAST, "--prompts", str(file))
    assert result.returncode == 4 and re.search(words, result.stdout), result.stdout


def test_a_composed_recipe_is_measured_by_its_name(bench):
    """And the sessions' reference is the true one, of 64 steps, told from a few of them."""
    cell = CELL.replace("-text", "-image").format("guidance-interval+steps-4")
    told = ["--extrapolate", "always", "--quality-prompts", "0", "--time-budget", "0.3", "--benchmark-save=made"]
    result = bench(cell, *told)
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout
    (row,) = json.loads((bench.folder / "0001_made.json").read_text())["cells"]
    assert row["optimization"] == "guidance-interval+steps-4" and row["evaluations"] == 7
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
