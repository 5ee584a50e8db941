"""A judge of another package, in this Python and in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from suite.metrics import judges
from suite.metrics.judges_elsewhere import Elsewhere, JudgeAbsent
from suite.metrics.quality import Judge
from suite.metrics.scoring import measure_quality
from tests.test_extension_door import EXAMPLE, ROOT, session

BUILDER = "text3d_example.colours:build"
ENTRIES = "text3d_example.entries:BALL,text3d_example.entries:COLOURS,text3d_example.entries:COLOURS_ELSEWHERE"
PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLE)]), "TEXT3D_EXTENSIONS": ENTRIES}
CELL = "suite/test_configurations.py::test_configuration[ball-nano-text/fp32@cpu]"
FAST = ("--quality-prompts", "8", "--time-budget", "0.1")


@pytest.fixture
def example(monkeypatch):
    """A Python that has the judge's package and nothing of the suite."""
    monkeypatch.setenv("COLOURS_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE))


def test_a_judge_in_a_python_of_its_own_answers_as_it_does_here(example, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from text3d_example.colours import Colours

    there = Elsewhere("COLOURS_PYTHON", BUILDER, "colours")
    assert (there.name, there.size_px) == ("colours:1", 32)
    captions = ["a red cube on a blue ball", "a green cone", "nothing"]
    assert there.captions(captions) == pytest.approx(Colours().captions(captions), abs=1e-6)
    pictures = torch.rand(5, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert there.views(pictures) == pytest.approx(Colours().views(pictures), abs=1e-6)


@pytest.mark.parametrize(
    ("python", "builder", "why"),
    [
        (None, BUILDER, "set COLOURS_PYTHON"),
        ("/no/such/python", BUILDER, "does not start"),
        (sys.executable, "text3d_example.colour:build", "ModuleNotFoundError"),
        (sys.executable, "text3d_example.colours:biuld", "AttributeError"),
        ("/bin/true", BUILDER, "its process ended"),
        ("/bin/echo", BUILDER, "it said"),
    ],
)
def test_one_that_cannot_be_asked_says_why(example, monkeypatch, python, builder, why):
    monkeypatch.delenv("COLOURS_PYTHON") if python is None else monkeypatch.setenv("COLOURS_PYTHON", python)
    with pytest.raises(JudgeAbsent, match=why):
        Elsewhere("COLOURS_PYTHON", builder, "colours")


def test_what_goes_wrong_with_a_task_is_told(example):
    there = Elsewhere("COLOURS_PYTHON", BUILDER, "colours")
    with pytest.raises(JudgeAbsent, match="AttributeError"):
        there.captions([1])


def test_a_judge_amid_a_task_ends_with_the_process_that_asked(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text(
        "import time\n"
        "class Hanging:\n"
        "    name, size_px = 'hanging:1', 32\n"
        "    def captions(self, captions): time.sleep(600)\n"
        "build = lambda name: Hanging()\n"
    )
    program = (
        "from suite.metrics.judges_elsewhere import Elsewhere\n"
        "judge = Elsewhere('COLOURS_PYTHON', 'hanging:build', 'hanging')\n"
        "print(judge._process.pid, flush=True)\n"
        "judge.captions(['a'])\n"
    )
    monkeypatch.setenv("COLOURS_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    asking = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    judge = int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{judge}").exists() and " Z " not in Path(f"/proc/{judge}/stat").read_text():
        assert time.monotonic() < deadline, "the judge lives on"
        time.sleep(0.1)


class Odd:
    """A judge of another package whose answers are not what is expected."""

    name, size_px = "odd:1", 32

    def __init__(self, captions, views):
        self._captions, self._views = captions, views

    def captions(self, captions):
        return self._captions(len(captions))

    def views(self, views):
        return self._views(len(views))


PAIR = ["a red cube", "a large blue ball"]


def as_judge(monkeypatch, tmp_path, captions, views) -> Judge:
    """Of two prompts; what it says of the gallery is kept for this test only."""
    monkeypatch.setenv("TEXT3D_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr(judges, "resolve", lambda builder: lambda name: Odd(captions, views))
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(PAIR))
    return Judge("embedded", "clip-nano-judge", file)


def of_width(width: int):
    return lambda count: np.random.default_rng(0).random((count, width))


@pytest.mark.parametrize(
    ("captions", "views", "why"),
    [
        (of_width(4), of_width(5), "5 numbers for pictures, 4 for captions"),
        (of_width(4), of_width(8), "8 numbers for pictures, 4 for captions"),
        (of_width(4), lambda count: of_width(4)(count - 1), r"the shape \[7, 4\], expected \[8, width\]"),
        (of_width(4), lambda count: np.ones(4 * count), r"the shape \[32\], expected"),
        (lambda count: np.full((count, 4), np.nan), of_width(4), "captions hold NaN or infinity"),
    ],
)
def test_a_judge_whose_vectors_do_not_fit_is_no_judge(monkeypatch, tmp_path, captions, views, why):
    with pytest.raises(JudgeAbsent, match=why):
        as_judge(monkeypatch, tmp_path, captions, views).score(torch.rand(2, 64, 6), PAIR)


def test_objects_that_a_judge_gives_no_number_for_are_misses_that_are_told(monkeypatch, tmp_path):
    judge = as_judge(monkeypatch, tmp_path, of_width(4), lambda count: np.full((count, 4), np.nan))
    made = SimpleNamespace(generate=lambda prompts, sample=0: torch.rand(len(prompts), 64, 6))
    quality, _ = measure_quality(made, judge, 2)
    assert quality.r_precision.value == 0
    assert quality.warnings == [
        "the judge's vectors of 2 of 2 objects hold NaN or infinity and count as misses (first: 'a red cube')"
    ]


@pytest.mark.parametrize("judge", ["colours", "colours-elsewhere"])
def test_a_session_scores_with_it_and_its_row_names_it(judge, tmp_path):
    elsewhere = {"COLOURS_PYTHON": sys.executable} if judge == "colours-elsewhere" else {}
    done = session(CELL, *FAST, "--judge", judge, storage=f"file://{tmp_path}", **PATHS, **elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*/0001_test.json")
    (cell,) = json.loads(file.read_text())["cells"]
    assert cell["quality"]["judge"] == "colours:1" and len(cell["quality"]["outcomes"]) == 8


def test_without_its_python_the_cell_says_what_to_set():
    done = session(CELL, *FAST, "--judge", "colours-elsewhere", "-rs", **PATHS)
    assert done.returncode == 0 and "set COLOURS_PYTHON to that of its environment" in done.stdout, done.stdout


def test_an_unknown_judge_is_answered_with_the_nearest_and_one_that_lacks_the_words_runs_nothing():
    done = session(CELL, "--judge", "colour", **PATHS)
    assert done.returncode == 4 and "unknown judge 'colour'; nearest: colours" in done.stdout + done.stderr
