"""The set-up: rules here by default, real environments of a small project under the mark `slow`."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.setup_cases import (  # noqa: F401 - fixtures
    HERE,
    PYTHON,
    ROOT,
    installing,
    make,
    message,
    scripts,
    small_checkout,
    variables,
)

# ---- the rules


def test_a_finished_environment_of_the_same_python_is_kept_and_others_are_made_anew(scripts):
    setup, _ = scripts
    wanted = {"python": "3.11", "prefix": "/usr", "checkout": "/a", "inputs": "1"}
    assert setup.why_anew({**wanted, "inputs": "0"}, wanted, runs=True) is None
    assert "half-made" in setup.why_anew(None, wanted, runs=True)
    assert "older" in setup.why_anew({}, wanted, runs=True)
    assert "/b" in setup.why_anew({**wanted, "checkout": "/b"}, wanted, runs=True)
    assert "3.10" in setup.why_anew({**wanted, "python": "3.10"}, wanted, runs=True)
    assert "gone" in setup.why_anew(wanted, wanted, runs=False)


def test_a_half_made_environment_is_emptied_and_a_foreign_one_only_moved(scripts, tmp_path, capsys):
    setup, _ = scripts
    venv = tmp_path / ".venv"
    setup.make_room(venv)
    (venv / "half").touch()
    setup.make_room(venv)
    assert [path.name for path in venv.iterdir()] == [setup.OURS]
    (venv / setup.OURS).unlink()
    (venv / "precious").touch()
    setup.make_room(venv)
    assert (tmp_path / ".venv.moved-1/precious").exists() and str(tmp_path / ".venv.moved-1") in capsys.readouterr().out


def test_an_environment_of_another_checkout_is_not_emptied_through_a_link(scripts, tmp_path):
    setup, _ = scripts
    other, venv = tmp_path / "other", tmp_path / ".venv"
    other.mkdir()
    venv.symlink_to(other)
    setup.make_room(venv)  # an empty folder on another disk may be used
    setup.make_room(venv)
    assert venv.is_symlink() and setup.owner(venv) == str(setup.ROOT)
    (other / "precious").touch()
    (other / setup.READY).touch()
    (other / setup.OURS).write_text("/another/checkout\n")
    with pytest.raises(setup.SetupError, match="remove the link"):
        setup.make_room(venv)
    assert (other / "precious").exists()
    shutil.rmtree(other)
    with pytest.raises(setup.SetupError, match="not there: remove the link"):
        setup.make_room(venv)


# Lines as pip 26.3 prints them.
COMPLAINTS = {
    "no_space": "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "damaged": "ERROR: Wheel 'a' located at /tmp/a-1-py3-none-any.whl is invalid.",
    "no_network": (
        "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError(...)'"
    ),
    "missing": "ERROR: No matching distribution found for scipy==1.17.1",
    "conflict": "    The user requested (constraint) iniconfig==2.1.0",
    "no_right": "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'",
}


@pytest.mark.parametrize("name", COMPLAINTS)
def test_each_complaint_of_pip_has_its_answer_in_one_line(scripts, installing, name):
    setup, _ = scripts
    lines = ["Collecting a", COMPLAINTS[name]]
    reason = installing.cause(lines)
    assert reason.__name__ == name
    answer = reason(lines, setup.Pip(Path("/.venv/bin/python"), -1) if name != "no_space" else a_pip(setup))
    assert "\n" not in answer and len(answer) < 330


def a_pip(setup):
    return setup.Pip(Path(sys.prefix) / "bin/python", -1)


def test_a_lost_network_is_told_before_what_it_brings_along(installing):
    lines = [COMPLAINTS["no_network"], COMPLAINTS["missing"]]
    assert installing.cause(lines) is installing.no_network
    assert installing.cause(["ERROR: ResolutionImpossible"]) is None


def test_irrelevant_warnings_are_left_out_and_others_are_not(installing):
    assert (
        installing.worth_saying("WARNING: Location 'file:///a/' is ignored: it is neither a file nor a directory.")
        is None
    )
    assert installing.worth_saying("WARNING: Running pip as the 'root' user can result in broken permissions") is None
    assert installing.worth_saying(COMPLAINTS["no_network"]) == COMPLAINTS["no_network"]
    line = "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (200.1 MB)"
    assert installing.worth_saying(line) == "downloading torch 2.13.0 (200.1 MB)"
    assert installing.worth_saying("  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)") is None


# ---- make, before anything is installed


def test_no_python_at_all_is_told_in_one_line(tmp_path):
    told = message(make(small_checkout(tmp_path / "a"), "setup", PYTHON="python3.99"))
    assert "no python3.99 here" in told and "apt-get install" in told


def test_too_old_a_python_is_told_in_one_line(tmp_path):
    old = tmp_path / "python3.8"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.18 && exit\nexit 1\n')
    old.chmod(0o755)
    told = message(make(small_checkout(tmp_path / "a"), "setup", PYTHON=str(old)))
    assert "3.10 or newer" in told and "Python 3.8.18" in told and "make PYTHON=python3." in told


def test_a_python_without_venv_is_told_and_nothing_is_left(tmp_path):
    """As on a Debian without python3-venv, whose Python has no `ensurepip`."""
    python = tmp_path / "python3"
    block = "import sys; sys.modules['ensurepip'] = None"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(block)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}/site" exec "{PYTHON}" "$@"\n')
    python.chmod(0o755)
    checkout = small_checkout(tmp_path / "a")
    told = message(make(checkout, "setup", PYTHON=str(python)))
    assert f"sudo apt-get install python{HERE}-venv" in told
    assert not (checkout / ".venv").exists()


def test_a_vendors_torch_that_does_not_import_is_not_replaced(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/torch.py").write_text("raise ImportError('libcudnn.so.8: cannot open')")
    checkout = small_checkout(tmp_path / "a", vendor=True)
    told = message(make(checkout, "setup", PYTHONPATH=str(tmp_path / "site")))
    assert "libcudnn.so.8" in told and not (checkout / ".venv").exists()


def test_a_second_set_up_waits_for_the_first(tmp_path):
    checkout = small_checkout(tmp_path / "a")
    holder = os.open(checkout, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    environment = variables(WHEELS=str(tmp_path / "none"))
    with subprocess.Popen(
        ["make", "-C", checkout, "setup"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as waiting:
        said = next(line for line in waiting.stdout if "set-up" in line)
        assert "waiting for it" in said and waiting.poll() is None
        os.close(holder)
        assert "no such folder" in waiting.stdout.read()


# ---- real environments of a small project; they ask the package index for pip, setuptools and a package


@pytest.mark.slow
def test_a_path_with_a_space_and_an_accent_and_no_home(tmp_path):
    checkout = small_checkout(tmp_path / "an é b")
    first = make(checkout, "setup", HOME=None)
    assert first.returncode == 0, first.stdout
    lines = [line for line in first.stdout.splitlines() if not line.startswith(" ")]
    assert [line[:3] for line in lines[:3]] == ["1/3", "2/3", "3/3"] and ".venv is ready" in lines[3]
    assert make(checkout, "setup", HOME="", PYTHON="").stdout == ""  # nothing left to do, nothing said
    used = [checkout / ".venv/bin/python", "-c", "import iniconfig, suite; print(suite.__file__)"]
    run = subprocess.run(used, cwd="/", env=variables(), capture_output=True, encoding="utf-8", check=True)
    assert str(checkout) in run.stdout
    (checkout / "constraints.txt").write_text("iniconfig==2.0.0\n")
    again = make(checkout, "setup", HOME="")
    assert again.returncode == 0 and "up to date" in again.stdout, again.stdout
    assert list((checkout / ".venv").glob("lib/*/site-packages/iniconfig-2.0.0.dist-info"))
    moved = checkout.rename(tmp_path / "moved")
    assert "anew, since it was made for" in make(moved, "setup").stdout


@pytest.mark.slow
def test_a_killed_set_up_is_mended_by_the_next(tmp_path):
    checkout = small_checkout(tmp_path / "a")
    environment = variables()
    with subprocess.Popen(
        ["make", "-C", checkout, "setup"], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as killed:
        assert any(line.startswith("2/3") for line in killed.stdout)
        os.killpg(killed.pid, signal.SIGKILL)
    assert (checkout / ".venv").exists() and not (checkout / ".venv/.ready").exists()
    mended = make(checkout, "setup")
    assert mended.returncode == 0 and "since it is half-made" in mended.stdout, mended.stdout


@pytest.mark.slow
def test_of_two_set_ups_at_once_one_does_the_work(tmp_path):
    checkout = small_checkout(tmp_path / "a")
    command = ["make", "-C", checkout, "setup"]
    two = [subprocess.Popen(command, env=variables(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    assert sorted("1/3" in text for text in said) == [False, True]
    assert sum("waiting for it" in text for text in said) == 1


OLD_TORCH = """
import numpy
__version__ = "2.3.0"
def from_numpy(array):
    if {condition}:
        raise RuntimeError("Numpy is not available")
    return array
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="numpy below 2 has no wheel for Python 3.13")
def test_a_vendors_torch_for_numpy_1_gets_numpy_1(tmp_path):
    (tmp_path / "site").mkdir()
    torch = tmp_path / "site/torch.py"
    torch.write_text(OLD_TORCH.format(condition="not numpy.__version__.startswith('1.')"))
    checkout = small_checkout(tmp_path / "a", dependencies='"iniconfig", "numpy>=1.26"', vendor=True)
    (checkout / "constraints.txt").write_text("iniconfig==2.1.0\nnumpy==2.2.6\ntorch==99\n")
    for name in ("open_clip_torch", "timm"):  # large, and not what this is about
        setup = checkout / "scripts/setup.py"
        setup.write_text(setup.read_text().replace(f'"{name}"', '"iniconfig"'))
    (tmp_path / "site/torchvision.py").touch()
    made = make(checkout, "setup", PYTHONPATH=str(tmp_path / "site"))
    assert made.returncode == 0, made.stdout
    assert "with its own torch 2.3.0" in made.stdout and "taking numpy below 2" in made.stdout
    assert list((checkout / ".venv").glob("lib/*/site-packages/numpy-1.26.*"))

    torch.write_text(OLD_TORCH.format(condition="True"))
    (checkout / ".venv/.ready").unlink()
    told = message(make(checkout, "setup", PYTHONPATH=str(tmp_path / "site")))
    assert "torch 2.3.0 cannot read numpy's arrays" in told and "Numpy is not available" in told


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_told_and_mended(tmp_path):
    checkout = small_checkout(tmp_path / "a")
    disk = checkout / ".venv"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        assert "the disk is full" in message(make(checkout, "setup"))
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        assert make(checkout, "setup").returncode == 0
    finally:
        subprocess.run(["umount", disk], check=True)
