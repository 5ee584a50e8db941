"""The set-up and the bundle: rules here by default, real environments of a small project under the mark `slow`."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import zipfile
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


def test_a_platform_stands_for_all_wheels_that_run_there(scripts):
    setup, bundle = scripts
    jetson = bundle.parse_target("3.12", "manylinux2014_aarch64")
    assert (jetson.python, jetson.machine, jetson.glibc) == ((3, 12), "aarch64", bundle.USUAL_GLIBC)
    assert {"manylinux_2_28_aarch64", "manylinux2014_aarch64", "manylinux_2_17_aarch64"} <= set(jetson.tags())
    assert "manylinux_2_28_x86_64" not in bundle.parse_target("3.10", "manylinux_2_27_x86_64").tags()
    assert bundle.parse_target("python3.13", "aarch64").python_text == "3.13"
    here = bundle.parse_target("", "")
    assert (here.python_text, here.machine) == (HERE, platform.machine())
    for python, tag in (("3.9", ""), ("two", ""), ("3.12", "win_amd64"), ("3.12", "manylinux2014_riscv64")):
        with pytest.raises(setup.SetupError, match="PYTHON=|PLATFORM="):
            bundle.parse_target(python, tag)


@pytest.fixture
def wheels(scripts, tmp_path) -> Path:
    """A bundle for this machine with one wheel."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a.py", "")
    describe(scripts, folder)
    return folder


def describe(scripts, folder: Path, torch: str = "", **target) -> None:
    bundle = scripts[1]
    here = bundle.parse_target("", "")
    bundle.describe(bundle.Target(**{**vars(here), **target}), torch == "own", folder)


def test_a_whole_bundle_for_this_machine_is_taken(scripts, wheels):
    scripts[0].check_wheels(wheels, None)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=wheels, check=True)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"python": (3, 9)}, r"for Python 3\.9, this is .*make bundle PYTHON="),
        ({"machine": "riscv64"}, "for riscv64, this is"),
        ({"glibc": (9, 9)}, r"needs glibc 9\.9"),
        ({"torch": "own"}, "without torch"),
    ],
)
def test_a_bundle_for_another_machine_is_refused(scripts, wheels, target, told):
    describe(scripts, wheels, **target)
    with pytest.raises(scripts[0].SetupError, match=told):
        scripts[0].check_wheels(wheels, None)


def test_a_bundle_without_torch_serves_a_board_that_has_one(scripts, wheels):
    describe(scripts, wheels, torch="own")
    scripts[0].check_wheels(wheels, "2.3.0")


def test_what_an_altered_bundle_lacks_is_named(scripts, wheels):
    setup = scripts[0]
    wheel = wheels / "a-1-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(setup.SetupError, match="altered a-1-py3-none-any.whl"):
        setup.check_wheels(wheels, None)
    wheel.rename(wheels / "b-1-py3-none-any.whl")
    with pytest.raises(setup.SetupError, match="missing a-1-py3-none-any.whl"):
        setup.check_wheels(wheels, None)
    (wheels / "bundle.json").write_text("{")
    with pytest.raises(setup.SetupError, match="is damaged"):
        setup.check_wheels(wheels, None)
    with pytest.raises(setup.SetupError, match="no such folder"):
        setup.check_wheels(wheels / "none", None)


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


def test_a_bundle_never_writes_over_a_folder(tmp_path):
    told = message(make(small_checkout(tmp_path / "a"), "bundle", f"OUT={tmp_path}", PYTHON=""))
    assert "is there already" in told


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


OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": None, "PIP_INDEX_URL": "http://127.0.0.1:9/"}


@pytest.mark.slow
def test_without_network_the_set_up_says_so_and_installs_from_a_bundle(tmp_path):
    checkout = small_checkout(tmp_path / "a")
    told = message(make(checkout, "setup", **OFFLINE, PIP_RETRIES="0"))
    assert "the package index was not reached" in told
    out = tmp_path / "wheels é"
    gathered = make(checkout, "bundle", f"OUT={out}", PYTHON="")
    assert gathered.returncode == 0, gathered.stdout
    assert {path.name.split("-")[0] for path in out.glob("*.whl")} == {"pip", "setuptools", "iniconfig"}
    made = make(checkout, "setup", f"WHEELS={out}", **OFFLINE)
    assert made.returncode == 0, made.stdout

    (checkout / ".venv/.ready").unlink()
    iniconfig = next(out.glob("iniconfig*"))
    whole = iniconfig.read_bytes()
    iniconfig.write_bytes(whole[:-100])
    assert f"altered {iniconfig.name}" in message(make(checkout, "setup", f"WHEELS={out}", **OFFLINE))
    (out / "SHA256SUMS").unlink()  # a folder that somebody filled by hand
    assert "damaged: a wheel in" in message(make(checkout, "setup", f"WHEELS={out}", **OFFLINE))
    iniconfig.unlink()
    assert "has no wheel of iniconfig" in message(make(checkout, "setup", f"WHEELS={out}", **OFFLINE))
    iniconfig.write_bytes(whole)
    assert make(checkout, "setup", f"WHEELS={out}", **OFFLINE).returncode == 0


@pytest.mark.slow
def test_a_bundle_names_what_has_no_wheel(tmp_path):
    """docopt 0.6.2 is a source package alone."""
    checkout = small_checkout(tmp_path / "a", dependencies='"docopt==0.6.2"')
    told = message(make(checkout, "bundle", f"OUT={tmp_path / 'b'}", "PYTHON=3.12", "PLATFORM=manylinux2014_aarch64"))
    assert "docopt==0.6.2" in told and "3.12 on aarch64" in told and "source package" in told
    assert not (tmp_path / "b").exists() and [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(("python", "tag"), [("3.10", "aarch64"), ("3.10", "x86_64"), ("3.13", "x86_64")])
def test_what_we_need_resolves_for_other_machines(scripts, tmp_path, python, tag):
    """The floors of pyproject.toml and the pins of constraints.txt, answered for another Python and processor."""
    setup, bundle = scripts
    target = bundle.parse_target(python, tag)
    pip = [sys.executable, "-c", bundle.PIP_ELSEWHERE, json.dumps(target.markers()), "install", "--dry-run", "-q"]
    where = [f"--python-version={python}", "--implementation=cp", "--only-binary=:all:", f"--target={tmp_path / 't'}"]
    where += [f"--platform={tag}" for tag in target.tags()]
    report = tmp_path / "report.json"
    what = ["-c", "constraints.txt", "--no-build-isolation", f".[{setup.EXTRAS}]", f"--report={report}"]
    subprocess.run([*pip, *where, "--ignore-installed", *what], cwd=ROOT, check=True)
    names = {entry["metadata"]["name"].lower(): entry for entry in json.loads(report.read_text())["install"]}
    assert {"torch", "diffusers", "streamlit"} <= names.keys()
    assert ("tomli" in names) == (python == "3.10")


def test_a_bundle_beside_kept_packages_is_what_measuring_takes(scripts, wheels, monkeypatch):
    setup, bundle = scripts
    names = {re.match(r"[\w.-]+", wanted)[0] for wanted in bundle.measuring()}
    assert {"diffusers", "pydantic", "trimesh", "scikit-image"} <= names and not names & {"streamlit", "plotly", "rich"}
    assert "huggingface_hub" in bundle.listed("vendor-torch")

    asked = []

    def gathered(target, command):
        asked.append(command)
        for name in ("numpy-2.4-cp312-cp312-linux_x86_64.whl", "hf_xet-1-py3-none-any.whl"):
            (wheels / name).touch()

    monkeypatch.setattr(bundle, "run", gathered)
    bundle.gather(
        bundle.parse_target("3.12", "x86_64"), True, wheels, Path(sys.executable), ("torch", "numpy", "hf-xet")
    )
    assert [path.name for path in wheels.glob("*.whl")] == ["a-1-py3-none-any.whl"]
    assert "--no-deps" in asked[1] and "open_clip_torch" in asked[1]
    bundle.describe(bundle.parse_target("", ""), True, wheels, ("torch", "numpy"))
    note = json.loads((wheels / setup.BUNDLE).read_text())
    assert note["kept"] == ["torch", "numpy"] and "benchmarks.gpu_session --wheels" in note["about"]


def test_a_machine_that_keeps_no_torch_is_refused():
    command = [sys.executable, "scripts/bundle.py", "--keep", "numpy"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and "KEEP=numpy: torch is what such a machine keeps" in run.stderr
