"""Types: mypy finds nothing, as the public workflow asks, and its list of excused modules names none that is gone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from suite.toml import tomllib

ROOT = Path(__file__).parents[1]


def mypy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install -c constraints.txt '.[types]'")
    return subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_mypy_finds_nothing(tmp_path):
    run = mypy("--cache-dir", tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_excused_is_there():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    excused = [name for one in settings["overrides"] if one.get("ignore_errors") for name in one["module"]]
    files = [ROOT / name.replace(".", "/") for name in excused]
    gone = [name for name, file in zip(excused, files) if not file.with_suffix(".py").exists() and not file.is_dir()]
    assert excused and not gone
