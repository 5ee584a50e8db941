"""Models, recipes and devices of other packages come in by a door: each in a process of its own, since catalogues are
filled once."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from suite.configurations import matrix

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "text3d-example"
BOARD = {"TEXT3D_BOARD": "test-extensions"}


def python(program: str, executable: str = sys.executable, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | BOARD | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLE)])} | environment,
    )


def session(*arguments: str, executable: str = sys.executable, **environment: str) -> subprocess.CompletedProcess:
    """A real pytest session of the benchmark."""
    storage = environment.pop("storage", None)
    saving = ["--benchmark-save=test", f"--benchmark-storage={storage}"] if storage else []
    return subprocess.run(
        [executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *saving, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | BOARD | environment,
    )


ENTRIES = "text3d_example.entries:BALL,text3d_example.entries:HALF_POINTS,text3d_example.entries:ORIN_NANO"
SAY = """
from suite.configurations import matrix, find, extensions
from suite.devices.backend import board_of
cells = {c.id: c for c in matrix()}
ball = cells["ball-nano-text/half-points@cpu"]
print(*ball.marks)
print(len(ball.budgets), ball.in_smoke, len(find("point-e-nano-text/fp32@cpu").budgets))
print(sum(c.device.name == "orin-nano" and bool(c.unsupported) for c in cells.values()))
print(board_of("orin-nano"))
print(extensions().problems)
"""


def test_entries_of_a_shell_come_in_without_budgets_and_outside_the_default_run():
    done = python(SAY, TEXT3D_EXTENSIONS=ENTRIES)
    assert done.returncode == 0, done.stderr
    marks, budgets, unsupported, board, problems = done.stdout.splitlines()
    assert set(marks.split()) == {"cpu", "ball", "fewer-points", "extension"}
    assert budgets == "0 False 3"
    assert int(unsupported) > 0  # those for the processor
    assert "Orin Nano" in board and problems == "[]"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("no_such_module:MODEL", "No module named 'no_such_module'"),
        ("text3d_example.entries:BAL", "text3d_example.entries has no BAL"),
        ("text3d_example.entries", "'text3d_example.entries' is not possible; write module:NAME"),
        (
            "text3d_example.ball:COLOURS",
            "expected one of Model, Optimization, Device, Judge, or a list of them; got dict",
        ),
        ("text3d_example.entries:BALL,text3d_example.entries:BALL", "models: ball-nano-text is there already"),
    ],
    ids=["no module", "no name", "no colon", "another thing", "twice"],
)
def test_what_cannot_be_read_is_said_and_ends_nothing(entries, said):
    done = session("--collect-only", "-m", "smoke and cpu", TEXT3D_EXTENSIONS=entries, PYTHONPATH=str(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"TEXT3D_EXTENSIONS: {entries.split(',')[-1]}: " in done.stdout and said in done.stdout


MARKED = """
from suite.catalogue.extensions import NoEntry, _add
from suite.catalogue.recipes import Optimization, Technique
for name in ("usefixtures", "smoke", "nightly", "cpu", "skip", "2nd", "a.b", "not"):
    try:
        print("taken", _add(Optimization(name="mine", techniques=(Technique(name, "m:f"),), source="tests")))
    except NoEntry as error:
        print(error)
"""


def test_a_mark_that_means_something_else_is_refused():
    done = python(MARKED)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8 and "taken" not in done.stdout.split()
    assert "optimizations: the mark 'smoke' has a meaning already; take another name" in done.stdout


def test_a_single_value_without_its_comma_is_named(tmp_path):
    """`("fp32")` is a text, which would be read letter by letter."""
    program = """
from dataclasses import replace
from suite.catalogue.extensions import NoEntry, _add, extensions
from suite.catalogue.models import MODELS
from suite.catalogue.recipes import Optimization, Technique
extensions()
ball = replace(MODELS["ball-nano-text"], name="other")
for entry in (
    Optimization(name="mine", techniques=(Technique("one", "m:f")), source="tests"),
    replace(ball, weights=("embedded")),
    replace(ball, stages=["ball"]),
):
    try:
        print("taken", _add(entry))
    except NoEntry as error:
        print(error)
"""
    done = python(program, TEXT3D_EXTENSIONS=ENTRIES)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("optimizations: mine: techniques is a Technique and no tuple; a single value needs a comma")
    assert (
        second == "models: other: weights is a str and no tuple; a single value needs a comma behind it: ('embedded',)"
    )
    assert third.startswith("models: other: stages is a list and no tuple")


def test_a_device_of_others_has_the_whole_matrix_of_its_kind():
    program = """
from suite.configurations import matrix
cells = [c for c in matrix() if c.model.name != "ball-nano-text" and c.optimization.name != "half-points"]
of = lambda device: {c.recipe for c in cells if c.device.name == device}
assert of("orin-nano") == of("orin") and len(of("orin")) > 400
assert not any(c.in_smoke for c in cells if c.device.name == "orin-nano")
"""
    done = python(program, TEXT3D_EXTENSIONS=ENTRIES)
    assert done.returncode == 0, done.stderr


def test_a_cell_that_an_unread_extension_would_have_is_answered_with_why_it_is_not_there():
    cell = "suite/test_configurations.py::test_configuration[ball-nano-text/fp32@cpu]"
    done = session(cell, TEXT3D_EXTENSIONS="no_such_module:MODEL")
    assert done.returncode == 4
    assert "unknown model 'ball-nano-text'" in done.stderr and "No module named 'no_such_module'" in done.stderr


def test_the_budgets_of_this_project_are_not_written_for_others():
    program = (
        "from suite.budgets.__main__ import main; raise SystemExit(main(['propose', '--print', '--device', '{}']))"
    )
    ours = python(program.format("cpu"), TEXT3D_EXTENSIONS=ENTRIES)
    assert ours.returncode == 0 and "point-e-nano-text/fp32" in ours.stdout and "ball" not in ours.stdout
    theirs = python(program.format("orin-nano"), TEXT3D_EXTENSIONS=ENTRIES)
    assert theirs.returncode == 2 and "orin-nano is from another package" in theirs.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> str:
    """The Python of an environment of its own, which has what this one has, and the example package."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120)
    python = home / "bin" / "python"
    (own,) = home.glob("lib/python*/site-packages")
    (own / "all-of-the-projects.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    package = home / "package"  # a build writes beside its sources
    subprocess.run(["cp", "-r", str(EXAMPLE), str(package)], check=True)
    done = subprocess.run(
        [*command, "--no-build-isolation", str(package)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(python)


def test_an_installed_package_runs_its_model_its_technique_and_refuses_its_absent_device(installed, tmp_path):
    arguments = (
        "-m",
        "ball and not steps",
        "-k",
        "fp32 or half-points",
        "--quality-prompts=2",
        "--time-budget=0.2",
        "-rs",
    )
    done = session(*arguments, executable=installed, storage=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "ball-nano-text/fp32@cpu" in done.stdout and "ball-nano-text/half-points@cpu" in done.stdout
    assert "no budget" not in done.stdout and "Orin Nano" in done.stdout
    (saved,) = tmp_path.rglob("*_test.json")
    assert saved.stat().st_size > 1000


def test_this_process_has_only_its_own():
    assert not [c.id for c in matrix() if c.is_extension]
