"""`scripts/jetson-clocks-for-bench` with stand-ins for NVIDIA's programs. It never ran on a real module."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "jetson-clocks-for-bench"
NVPMODEL = """#!/bin/sh
case $1 in
-q) printf 'NV Power Mode: MODE_30W\\n%s\\n' "$(cat {folder}/mode)" ;;
-m) echo "mode $2" >>{folder}/calls; [ -e {folder}/stubborn ] || echo "$2" >{folder}/mode ;;
esac
"""
JETSON_CLOCKS = """#!/bin/sh
echo "clocks $*" >>{folder}/calls
case ${{1:-}} in --store) echo free >"$2" ;; --restore) cat "$2" >/dev/null ;; esac
"""


class Module:
    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in (("nvpmodel", NVPMODEL), ("jetson_clocks", JETSON_CLOCKS)):
            (folder / "bin" / name).write_text(text.format(folder=folder))
            (folder / "bin" / name).chmod(0o755)
        (folder / "mode").write_text("2\n")
        (folder / "conf").write_text("< POWER_MODEL ID=1 NAME=MODE_15W >\n< POWER_MODEL ID=0 NAME=MAXN >\n")

    def run(self, *words: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess:
        environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{path}",
            "TEXT3D_CLOCKS": str(self.folder / "state"),
            "TEXT3D_NVPMODEL_CONF": str(self.folder / "conf"),
        }
        return subprocess.run([SCRIPT, *words], env=environment, capture_output=True, text=True, timeout=30)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def mode(self) -> str:
        return (self.folder / "mode").read_text().strip()


@pytest.fixture
def module(tmp_path) -> Module:
    return Module(tmp_path)


def test_it_sets_the_highest_mode_and_brings_back_what_was_before(module):
    done = module.run("set")
    assert done.returncode == 0, done.stderr
    assert module.mode == "0"
    assert module.calls == [f"clocks --store {module.folder}/state/clocks", "mode 0", "clocks "]
    assert module.run("restore").returncode == 0
    assert module.mode == "2"
    assert module.calls[3:] == ["mode 2", f"clocks --restore {module.folder}/state/clocks"]
    assert not (module.folder / "state").exists()
    assert module.run("restore").stdout == "nothing to restore\n" and len(module.calls) == 5


def test_set_twice_keeps_what_was_before_the_first(module):
    """A night that was killed restored nothing."""
    assert module.run("set").returncode == module.run("set").returncode == 0
    assert module.run("restore").returncode == 0
    assert module.mode == "2"


@pytest.mark.parametrize("words", [(), ("set", "restore"), ("--help",), ("-m",), ("set; reboot",), ("/etc/shadow",)])
def test_any_other_word_is_refused_and_nothing_is_called(module, words):
    done = module.run(*words)
    assert done.returncode == 2 and done.stderr.endswith("usage: jetson-clocks-for-bench set | restore\n")
    assert module.calls == []


def test_a_mode_that_is_not_taken_is_told(module):
    (module.folder / "stubborn").touch()
    done = module.run("set")
    assert done.returncode == 1 and "power mode 0 was not taken, it is 2: does it need a reboot?" in done.stderr


def test_a_machine_without_these_programs_is_told(module):
    (module.folder / "bin" / "nvpmodel").unlink()
    done = module.run("set")
    assert done.returncode == 1 and "there is no nvpmodel here" in done.stderr
