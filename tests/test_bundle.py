"""A bundle of wheels for a machine without network: what it is for, what is refused, and a set-up from one."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.setup_cases import (  # noqa: F401 - fixtures
    HERE,
    OFFLINE,
    PYTHON,
    ROOT,
    make,
    message,
    scripts,
    small_checkout,
)


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


def test_a_bundle_never_writes_over_a_folder(tmp_path):
    told = message(make(small_checkout(tmp_path / "a"), "bundle", f"OUT={tmp_path}", PYTHON=""))
    assert "is there already" in told


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
