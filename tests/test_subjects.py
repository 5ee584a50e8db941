"""Which slow tests a change calls for, asked of real repositories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import subjects
from tests.subjects import ROOT, SUBJECTS, called_for, changed

TRAINING = "tests/test_training.py"


@pytest.fixture
def repository(tmp_path) -> Path:
    """Forty commits, each of which changed a file of its own."""
    git(tmp_path, "init", "-q", "-b", "main")
    for number in range(40):
        (tmp_path / f"{number}.py").write_text("")
        commit(tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *named, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def test_on_main_some_landings_are_looked_back(repository):
    assert changed(root=repository) == {f"{number}.py" for number in range(10, 40)}


def test_on_a_branch_it_is_what_main_does_not_have(repository):
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(repository, "checkout", "-q", "-b", "work")
    (repository / "new é.py").write_text("1")
    commit(repository)
    (repository / "0.py").write_text("not committed")
    (repository / "untracked.py").write_text("")
    assert changed(root=repository) == {"new é.py", "0.py", "untracked.py"}


def test_what_was_moved_away_changed_too(repository):
    since = git(repository, "rev-parse", "HEAD")
    (repository / "folder").mkdir()
    git(repository, "mv", "3.py", "folder/3.py")
    assert changed(since, repository) == {"3.py", "folder/3.py"}


def test_where_git_cannot_tell_all_are_called_for(repository, tmp_path_factory):
    assert changed("no-such-revision", repository) is None
    git(repository, "checkout", "-q", "--orphan", "young")
    commit(repository)
    assert changed(root=repository) is None  # so few commits as a shallow clone has
    assert changed(root=tmp_path_factory.mktemp("no-repository")) is None
    assert set(called_for(None)) == set(SUBJECTS)


def test_a_change_calls_for_the_tests_of_its_subject_alone():
    assert TRAINING in called_for({"suite/training/train_clip.py"})
    assert called_for({"README.md", "docs/cost.md", "suite/embedded.py"}) == {}
    assert TRAINING not in called_for({"dashboard/app.py"}) and called_for({"dashboard/app.py"})
    assert called_for({TRAINING}) == {TRAINING: f"{TRAINING} changed"}
    assert set(called_for({"constraints.txt"})) == set(SUBJECTS)


def test_every_file_with_slow_tests_has_subjects_that_exist():
    marked = {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py") if "mark.slow" in path.read_text()}
    assert marked - {"tests/test_subjects.py", "tests/test_left_out.py"} == set(SUBJECTS)  # these speak of the mark
    for about in SUBJECTS.values():
        assert about and all((ROOT / path).exists() for path in about)


def test_the_command_prints_the_files_for_a_shell_and_why_beside_it():
    command = [sys.executable, "-m", "tests.subjects", "no-such-revision"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == list(subjects.SUBJECTS)
    assert run.stderr.count("git cannot tell what changed") == len(SUBJECTS)
