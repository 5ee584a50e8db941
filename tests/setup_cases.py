"""What the tests of the set-up and of the bundle share: the scripts as modules, a checkout of a small project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = ".".join(map(str, sys.version_info[:2]))
# The interpreter outside the environment that these tests run in: what a user's python3 is.
PYTHON = sys._base_executable
SCRIPTS = ("installing", "setup", "bundle")


@pytest.fixture
def scripts(monkeypatch):
    """The modules scripts/setup.py and scripts/bundle.py."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    for name in SCRIPTS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import bundle
    import setup

    yield setup, bundle
    for name in SCRIPTS:
        sys.modules.pop(name, None)


@pytest.fixture
def installing(scripts):
    """The module scripts/installing.py, as the others have it."""
    return sys.modules["installing"]


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
MODULES = ("suite/__init__", "suite/worker/preload", "suite/plugin", "dashboard/figures", "leaderboards/publish")
MODULES += ("diffusers", "pytest", "streamlit/web/bootstrap")
TORCH = "__version__ = '2.3.0'\ndef from_numpy(array):\n    return array\n"


def small_checkout(folder: Path, dependencies: str = '"iniconfig"', vendor: bool = False) -> Path:
    """A checkout with our Makefile and scripts whose project needs next to nothing."""
    (folder / "scripts").mkdir(parents=True)
    for name in ("Makefile", "scripts/with-python.sh", *(f"scripts/{name}.py" for name in SCRIPTS)):
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


def variables(**changes: str | None) -> dict[str, str]:
    """This process's environment with the Python of these tests; None removes a variable."""
    # PYTHONPATH as well: ours would bring the real suite into the small checkout.
    # `make test` is a make above the one that is tested, and would have it say at which level it runs.
    outer = dict.fromkeys(("MAKELEVEL", "MAKEFLAGS", "MFLAGS"))
    found = {**os.environ, **outer, "PYTHON": PYTHON, "PYTHONPATH": None, **changes}
    return {name: value for name, value in found.items() if value is not None}


def make(checkout: Path, *arguments: str, **changes: str | None) -> subprocess.CompletedProcess:
    """`make` there, with changed environment variables. Standard error is in `stdout` too."""
    return subprocess.run(
        ["make", "--no-print-directory", "-C", str(checkout), *arguments],
        env=variables(**changes),
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


OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": None, "PIP_INDEX_URL": "http://127.0.0.1:9/"}
