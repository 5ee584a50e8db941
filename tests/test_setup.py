"""The set-up and the bundle: rules here by default, real environments of a small project under the mark `slow`."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = ".".join(map(str, sys.version_info[:2]))
# The interpreter outside the environment that these tests run in: what a user's python3 is.
PYTHON = sys._base_executable


@pytest.fixture
def scripts(monkeypatch):
    """The modules scripts/setup.py and scripts/bundle.py."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "setup", raising=False)
    monkeypatch.delitem(sys.modules, "bundle", raising=False)
    import bundle
    import setup

    yield setup, bundle
    for name in ("setup", "bundle"):
        sys.modules.pop(name, None)


PROJECT = """
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"
[project]
name = "text3d-bench"
version = "0.1.0"
dependencies = [{dependencies}]
[project.optional-dependencies]
torch = []
dev = []
onnx = []
vendor-torch = []
[tool.setuptools]
packages = ["suite"]
"""
# What the proofs of the set-up import, beside what pip installs. They lie in the checkout, which is on their path.
MODULES = ("suite/__init__", "suite/preload", "suite/plugin", "dashboard/figures", "leaderboards/publish")
MODULES += ("diffusers", "pytest", "streamlit/web/bootstrap")
TORCH = "__version__ = '2.3.0'\ndef from_numpy(array):\n    return array\n"


def small_checkout(folder: Path, dependencies: str = '"iniconfig"', vendor: bool = False) -> Path:
    """A checkout with our Makefile and scripts whose project needs next to nothing."""
    (folder / "scripts").mkdir(parents=True)
    for name in ("Makefile", "scripts/setup.py", "scripts/bundle.py", "scripts/with-python.sh"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "pyproject.toml").write_text(PROJECT.format(dependencies=dependencies))
    (folder / "constraints.txt").write_text("iniconfig==2.1.0\n")
    if not vendor:
        (folder / "torch.py").write_text(TORCH)
        (folder / "numpy.py").write_text("def zeros(count):\n    return [0.0] * count\n")
    for name in MODULES:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def make(checkout: Path, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess:
    """`make` there with the Python of these tests; None removes a variable. Standard error is in `stdout` too."""
    variables = {**os.environ, "PYTHON": PYTHON, "PYTHONPATH": None, **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(
        ["make", "--no-print-directory", "-C", str(checkout), *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def message(run: subprocess.CompletedProcess) -> str:
    """The line of a run that failed which says what to do: the last one before make's own."""
    assert run.returncode, run.stdout
    lines = [line for line in run.stdout.splitlines() if not line.startswith("make: ***")]
    assert lines[-1].startswith(("setup: ", "bundle: ")), run.stdout
    assert "Traceback" not in run.stdout, run.stdout
    return lines[-1]
