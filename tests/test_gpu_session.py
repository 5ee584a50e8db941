"""A few minutes on a borrowed GPU, in their dry form: real processes, killed, cut short, and gone on with."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from benchmarks import gpu_session
from benchmarks.gpu_session import PLAN, Cell, Journal, parse, run, unpacked

ROOT = Path(__file__).parents[1]
QUICK = (
    Cell("evaluation", "base40M", "fp32"),
    Cell("evaluation", "base40M", "cuda-graphs"),
    Cell("gaps", "upsample", "fp32"),
)


def options(tmp_path: Path, *more: str):
    return parse(["--device", "cpu", "--dry", "--journal", str(tmp_path / "journal.jsonl"), *more])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a busy machine an import takes a minute."""
    monkeypatch.setattr(gpu_session, "SLOWEST_START_S", 300.0)


def test_each_cell_is_journalled_once_and_gone_on_with(tmp_path, capsys):
    asked = options(tmp_path)
    Journal(asked.journal, "cpu", True).write(QUICK[1], {"status": "unsupported", "reason": "as before"})
    assert run(asked, QUICK) == 0
    found = lines(asked.journal)
    assert [(e["cell"], e["status"]) for e in found] == [
        ("evaluation base40M cuda-graphs", "unsupported"),
        ("evaluation base40M fp32", "ok"),
        ("gaps upsample fp32", "ok"),
    ]
    assert found[0]["reason"] == "as before"
    assert found[1]["relative_error"] == 0 and found[1]["latency_s"] > 0 < found[1]["floor_s"]
    assert found[1]["peak_memory_bytes"] is None  # of a processor it is not asked
    assert found[2]["launches"] > 10
    assert "2 ok, 1 unsupported" in capsys.readouterr().out


def test_a_worker_whose_session_ended_while_it_started_takes_no_cell():
    asked = json.dumps(["machine", "", ""]) + "\n"
    command = [sys.executable, "-m", "benchmarks.gpu_cells", "1", "cpu", "--dry"]
    done = subprocess.run(command, cwd=ROOT, input=asked, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_killed_session_keeps_its_cells_and_the_next_goes_on(tmp_path):
    journal = tmp_path / "journal.jsonl"
    command = [sys.executable, "-m", "benchmarks.gpu_session", "--device", "cpu", "--dry", "--minutes", "9"]
    session = subprocess.Popen([*command, "--journal", str(journal)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (journal.exists() and journal.read_text().count("\n") >= 2):
        assert session.poll() is None
        time.sleep(0.05)
    session.send_signal(signal.SIGKILL)
    session.wait()
    kept = lines(journal)
    assert [entry["status"] for entry in kept] == ["ok"] * len(kept) and kept[0]["cell"] == "machine"
    with journal.open("a") as file:
        file.write('{"cell": "evaluation upsample fp3')  # as a machine leaves it that loses its power
    assert run(options(tmp_path), [PLAN[0], PLAN[1], Cell("evaluation", "base40M", "int8-fbgemm-linear")]) == 0
    found = Journal(journal, "cpu", True).read()
    assert found["machine"] == kept[0] and found["evaluation base40M int8-fbgemm-linear"]["status"] == "ok"


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """In place of the cells, some that die, hang or answer."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "gpu_cells.py").write_text(
        "import json, os, sys, time\n"
        "for line in sys.stdin:\n"
        "    kind = json.loads(line)[0]\n"
        "    if kind == 'dies': print('no such kernel', file=sys.stderr, flush=True); os._exit(139)\n"
        "    if kind == 'hangs': time.sleep(600)\n"
        "    print(json.dumps({'status': 'ok', 'pid': os.getpid()}), flush=True)\n"
    )
    monkeypatch.setattr(gpu_session, "ROOT", tmp_path)
    return tmp_path


def test_one_out_of_time_ends_with_its_cells_journalled(stand_in, monkeypatch, capsys):
    """What runs at the deadline is stopped, is no result, and is begun again by the next session."""
    asked = options(stand_in, "--minutes", "0.25")
    plan = [Cell("a"), Cell("hangs", seconds=100), Cell("b")]
    started = time.monotonic()
    assert run(asked, plan) == 0
    assert time.monotonic() - started < 15 + 5
    assert [entry["cell"] for entry in lines(asked.journal)] == ["a"]
    assert "2 left for want of time; the same command goes on: hangs, b" in capsys.readouterr().out
    assert run(options(stand_in), [plan[0], plan[2]]) == 0
    assert [entry["cell"] for entry in lines(asked.journal)] == ["a", "b"]


def test_what_does_not_fit_is_not_begun(stand_in):
    asked = options(stand_in, "--minutes", "0.5")
    asked.dry = False  # only then guesses are of this machine
    assert run(asked, [Cell("hangs", seconds=100), Cell("b", seconds=5)]) == 0
    assert [entry["cell"] for entry in lines(asked.journal)] == ["b"]


def test_a_worker_that_dies_costs_its_own_cell_alone(stand_in, monkeypatch):
    monkeypatch.setattr(gpu_session, "SLOWEST_START_S", 20.0)
    asked = options(stand_in)
    plan = [Cell("a"), Cell("dies"), Cell("b"), Cell("hangs", seconds=0.1), Cell("c")]
    assert run(asked, plan) == 0
    found = Journal(asked.journal, "cpu", True).read()
    statuses = {name: entry["status"] for name, entry in found.items()}
    assert statuses == {"a": "ok", "dies": "crashed", "b": "ok", "hangs": "timed-out", "c": "ok"}
    assert "139" in found["dies"]["reason"] and "no such kernel" in found["dies"]["reason"]
    assert len({found[name]["pid"] for name in "abc"}) == 3


def test_journals_of_another_device_or_size_are_others(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal(path, "cpu", True).write(QUICK[0], {"status": "ok"})
    assert Journal(path, "cuda", False).read() == {} and len(Journal(path, "cpu", True).read()) == 1
    with Journal(path, "cpu", True).held(), pytest.raises(BlockingIOError), Journal(path, "cpu", True).held():
        pass


def test_the_plan_fits_eight_minutes_and_begins_with_parity():
    assert len({cell.name for cell in PLAN}) == len(PLAN)
    assert [cell.kind for cell in PLAN[:3]] == ["machine", "evaluation", "evaluation"]
    reached, spent = [], 0.0
    for cell in PLAN:
        spent += cell.seconds
        if spent <= 8 * 60:
            reached.append((cell.kind, cell.recipe))
    wanted = {"fp32", "fp16", "bf16", "compile", "cuda-graphs", "int8-torchao-linear"}
    assert wanted <= {recipe for kind, recipe in reached if kind == "evaluation"}
    assert {"gaps", "quality"} <= {kind for kind, _ in reached}


def bundle(folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "here-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("here.py", "found = 1")
        wheel.writestr("here-1.data/platlib/compiled.py", "found = 2")
    digest = hashlib.sha256((folder / "here-1-py3-none-any.whl").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  here-1-py3-none-any.whl\n")
    return folder


def test_a_bundles_wheels_are_imported_without_being_installed(tmp_path):
    wheels = bundle(tmp_path / "wheels")
    made = unpacked(wheels, tmp_path)
    code = "import here, compiled; print(here.found + compiled.found)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=made, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "3"
    assert unpacked(wheels, tmp_path) == made
    (wheels / "here-1-py3-none-any.whl").write_bytes(b"")
    (wheels / "SHA256SUMS").write_text((wheels / "SHA256SUMS").read_text() + "\n")
    with pytest.raises(SystemExit, match="copy the bundle again"):
        unpacked(wheels, tmp_path)
