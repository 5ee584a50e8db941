"""How the tests themselves are run: on one waiting thread, and what they leave out is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import LONG

ROOT = Path(__file__).parents[1]
THREE = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_slow(n):
    raise AssertionError

def test_quick():
    pass
"""


@pytest.mark.parametrize("processes", [[], ["-n", "1", "--dist", "loadfile"]], ids=["one process", "workers"])
def test_slow_tests_that_are_left_out_are_counted(tmp_path, processes):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed: pip install -e '.[dev]'")
    (tmp_path / "test_three.py").write_text(THREE)
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "tests.left_out", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, str(tmp_path), "-m", "not slow", *processes],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0 and "1 passed" in run.stdout, run.stdout + run.stderr
    assert "2 slow tests were left out; `make test-all` runs them too" in run.stdout


def test_this_process_and_those_that_it_starts_take_one_thread_that_waits_passively():
    assert torch.get_num_threads() == 1
    told = re.search(r"OMP_NUM_THREADS : (\S+)", torch.__config__.parallel_info())
    assert told and told[1] == "1"
    for name, value in {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TEXT3D_THREADS": "1"}.items():
        assert os.environ[name] == value
    assert not [name for name in os.environ if name.startswith("PYTEST_XDIST_")]


def test_the_files_that_come_first_are_there():
    assert [name for name in LONG if not Path(__file__).with_name(f"test_{name}.py").exists()] == []
