"""Two commits compared, and the one that made a cell slower found: real repositories and processes.

The models are `benchmarks/sleepers.py`, an extension: their seconds are known, and they load quickly.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suite.bisect.__main__ import NotFound, commits_between
from suite.bisect.search import Search, is_worse, precision_for
from suite.confirm.checkouts import NoCheckout, Repository
from suite.confirm.comparing import Found, Rules, enough, judged
from suite.confirm.processes import Driven, DriverFailed, Side
from suite.confirm.records import Confirmation
from suite.confirm.turns import MAX_TURNS, MIN_PAIRS, narrow, over_pairs, pair_is_known, pair_ratio, turns_each
from suite.judging.latency_change import judge_ratio
from suite.records import Interval, Verdict

ROOT = Path(__file__).parents[1]
SLEEPERS = "benchmarks/sleepers.py"
CELL = "sleeper-1/fp32@cpu"
QUICK = ("--min-pairs", "2", "--precision", "0.1", "--time-limit", "240")


# The arithmetic.


def test_a_pairs_ratio_is_free_of_drift_and_of_a_disturbed_turn():
    drift = [1.0, 1.1, 1.3, 1.6]  # the machine gets slower
    head, base = [1.2 * d for d in drift], drift
    assert pair_ratio(head, base) == pytest.approx(1.2)
    assert pair_ratio([*head, 9.0], [*base, 1.7]) == pytest.approx(1.2)


def test_timing_takes_as_long_as_loading_within_bounds_and_each_side_is_as_often_first():
    assert turns_each(loading_s=10, round_s=1) == 10
    assert turns_each(loading_s=1, round_s=10) == 2
    assert turns_each(loading_s=1e4, round_s=1) == MAX_TURNS
    assert all(turns_each(loading_s, 1) % 2 == 0 for loading_s in range(1, 30))


def test_more_turns_of_a_pair_that_is_known_are_not_taken():
    assert not pair_is_known([1.0, 1.0], [1.0, 1.0], 0.01)  # too few to know
    assert pair_is_known([1.001, 1.0, 0.999, 1.0], [1.0] * 4, 0.01)
    assert not pair_is_known([1.1, 1.0, 0.9, 1.0], [1.0] * 4, 0.01)
    assert not pair_is_known([1.0] * 5, [1.0] * 5, 0.01)  # one side was first once more


def test_pairs_without_spread_enough_or_too_few_are_not_narrow():
    assert over_pairs([]) is None
    assert over_pairs([1.2]).low is None
    assert not narrow([1.0] * (MIN_PAIRS - 1), 0.01)
    assert narrow([1.0, 1.001, 0.999, 1.0, 1.0], 0.01)
    assert not narrow([1.0, 1.1, 0.9, 1.0, 1.0], 0.01)


def verdict_of(generator: random.Random, change: float, spread: float, precision: float = 0.01) -> Verdict:
    """As `compare` does it, of pairs with this spread; never more than 200 of them."""
    ratios: list[float] = []
    while not narrow(ratios, precision) and len(ratios) < 200:
        ratios.append(change * math.exp(generator.gauss(0, spread)))
    return judge_ratio(over_pairs(ratios), 2 * precision)


@pytest.mark.parametrize("spread", [0.005, 0.01, 0.03])
def test_looking_after_each_pair_calls_equal_code_changed_less_than_once_in_a_hundred(spread):
    generator = random.Random(1)
    same = [verdict_of(generator, 1.0, spread) for _ in range(400)]
    assert sum(v in (Verdict.REGRESSED, Verdict.IMPROVED) for v in same) <= 3
    assert sum(v == Verdict.PASS for v in same) >= 360
    slower = [verdict_of(generator, 1.05, spread) for _ in range(400)]
    assert sum(v == Verdict.REGRESSED for v in slower) >= 380
    assert not any(v in (Verdict.PASS, Verdict.IMPROVED) for v in slower)


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.05])
def test_stopping_when_the_verdict_is_sure_takes_fewer_pairs_and_finds_the_same(spread):
    """Of 60 pairs at most, as in the time of a night."""
    generator, rules = random.Random(2), Rules(decide=True)

    def ended(change: float, rules: Rules) -> tuple[Verdict, int]:
        found = Found()
        while enough(found, rules) is None and len(found.latency_ratios) < 60:
            found.latency_ratios.append(change * math.exp(generator.gauss(0, spread)))
        return judge_ratio(over_pairs(found.latency_ratios), rules.tolerance), len(found.latency_ratios)

    same = [ended(1.0, rules) for _ in range(200)]
    assert sum(verdict in (Verdict.REGRESSED, Verdict.IMPROVED) for verdict, _ in same) <= 2
    slower = [ended(1.05, rules) for _ in range(200)]
    assert sum(verdict == Verdict.REGRESSED for verdict, _ in slower) >= 190
    assert not any(verdict in (Verdict.PASS, Verdict.IMPROVED) for verdict, _ in slower)
    fewer = sum(pairs for _, pairs in slower) / sum(ended(1.05, Rules())[1] for _ in range(200))
    assert fewer < (1.01 if spread == 0.01 else 0.6)


def test_what_was_measured_before_a_side_failed_is_told_but_proves_nothing():
    found = Found(latency_ratios=[1.5, 1.5, 1.5], levels={("latency_s", "head"): [3.0], ("latency_s", "base"): [2.0]})
    ended = judged(CELL, found, Rules(), "failed", "base: it died", 1.0)
    assert ended.verdict == Verdict.UNCERTAIN and ended.compared[0].ratio.value == pytest.approx(1.5)
    assert judged(CELL, found, Rules(), "time", None, 1.0).verdict == Verdict.REGRESSED


@pytest.mark.parametrize("culprit", range(1, 12))
@pytest.mark.parametrize("cannot", [set(), {5}, {4, 5, 6, 7}])
def test_the_culprit_is_found_whatever_has_to_be_skipped(culprit, cannot):
    search, tried = Search(11), 0
    while (position := search.next()) is not None:
        search.tell(position, None if position in cannot else position >= culprit)
        tried += 1
    assert culprit in search.suspects
    assert len(search.suspects) == 1 or set(search.suspects) & cannot
    assert tried <= 4 + len(cannot)


def test_a_commit_is_on_the_bad_side_with_more_than_half_of_the_change():
    def at(ratio: float, half: float = 0.02) -> Interval:
        return Interval(value=ratio, low=ratio * math.exp(-half), high=ratio * math.exp(half))

    assert is_worse(at(1.38), 1.4) is True
    assert is_worse(at(1.01), 1.4) is False
    assert is_worse(at(math.sqrt(1.4)), 1.4) is None
    assert is_worse(at(1.01, 0.5), 1.4) is None
    assert is_worse(Interval(value=9.0), 1.4) is None and is_worse(None, 1.4) is None
    assert precision_for(1.4, 0.01) == pytest.approx(0.2 * math.log(1.4))
    assert precision_for(1.02, 0.01) == 0.01


# The commands.


class Clone:
    """A clone of this repository with the working tree's code, and commits on top."""

    def __init__(self, root: Path):
        self.root = root
        _run("git", "clone", "--quiet", "--shared", str(ROOT), str(root))
        changed = _run("git", "ls-files", "-z", "--modified", "--others", "--exclude-standard", cwd=ROOT).split("\0")
        for name in filter(None, changed):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        self.today = self.commit("the code of today")

    def commit(self, subject: str, **texts: tuple[str, str]) -> str:
        """Of files (by stem, in which a text is replaced by another); its hash."""
        for stem, (old, new) in texts.items():
            path = self.root / {"sleepers": SLEEPERS, "building": "suite/building.py"}[stem]
            text = path.read_text(encoding="utf-8")
            assert old in text
            path.write_text(text.replace(old, new), encoding="utf-8")
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
        _run("git", "add", "--all", cwd=self.root)
        _run("git", *who, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", subject, cwd=self.root)
        return _run("git", "rev-parse", "HEAD", cwd=self.root).strip()

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "TEXT3D_EXTENSIONS": "benchmarks.sleepers:ENTRIES",
            "TEXT3D_BOARD": f"test-confirm-{os.getpid()}",
            "TEXT3D_THREADS": "1",
            "TMPDIR": str(self.temporary),
        }

    @property
    def temporary(self) -> Path:
        folder = self.root.parent / "temporary"
        folder.mkdir(exist_ok=True)
        return folder

    def start(self, *words: str) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-m", *words], cwd=self.root, env=self.environment(), **pipes)

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=500)
        assert "Traceback" not in err
        return process.returncode, out, err

    def nothing_is_left(self) -> bool:
        worktrees = _run("git", "worktree", "list", "--porcelain", cwd=self.root).count("worktree ")
        return worktrees == 1 and list(self.temporary.glob("text3d-bench-*")) == []


def _run(*words: str, cwd: Path | None = None) -> str:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(words, cwd=cwd, env=ours, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    return Clone(tmp_path_factory.mktemp("clone") / "text3d-bench")


def test_a_slower_working_tree_is_regressed_and_the_base_is_gone_afterwards(clone):
    path = clone.root / SLEEPERS
    text = path.read_text()
    path.write_text(text.replace("OBJECT_S = 0.02", "OBJECT_S = 0.04"))
    file = clone.temporary / "result.json"
    try:
        code, out, err = clone.run("suite.confirm", "--base", "HEAD", *QUICK, "--json", str(file), CELL)
    finally:
        path.write_text(text)
    assert code == 1, out + err
    assert f"{CELL}: regressed" in out and "stages: sleep ×" in out
    result = Confirmation.model_validate_json(file.read_text())
    (found,) = result.configurations
    assert result.base == clone.today and result.head == f"working tree at {clone.today[:10]}+"
    assert found.stop_reason == "precision" and found.pairs == 2
    assert 1.7 < found.compared[0].ratio.low < found.compared[0].ratio.high < 2.3
    assert found.compared[0].tolerance == pytest.approx(0.2)
    assert clone.nothing_is_left()


def test_a_module_that_a_commit_lacks_is_not_taken_from_an_installation(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "__init__.py").touch()
    driven = Driven(Side("base", tmp_path), {"configuration": CELL, "weights": "embedded", "prompt": "a red cube"})
    try:
        with pytest.raises(DriverFailed, match="base: ModuleNotFoundError: No module named 'suite.configurations'"):
            driven.does("import", time.monotonic() + 120)
    finally:
        driven.end()


@pytest.mark.slow
def test_what_cannot_be_compared_is_uncertain_in_a_line_and_the_others_go_on(clone):
    """A base that lacks a configuration."""
    base = clone.commit("one sleeper", sleepers=("CELLS = 6", "CELLS = 1"))
    head = clone.commit("all of them again", sleepers=("CELLS = 1", "CELLS = 6"))
    asked = ("--base", base, "--head", head, *QUICK)
    code, out, err = clone.run("suite.confirm", *asked, "sleeper-2/fp32@cpu", "ball-of-none/fp32@cpu")
    assert code == 2 and out == "" and "unknown model 'ball-of-none'; nearest" in err
    file = clone.temporary / "result.json"
    code, out, err = clone.run("suite.confirm", *asked, "--json", str(file), "sleeper-2/fp32@cpu", CELL)
    assert code == 2, out + err
    assert "base: UnknownName: unknown model 'sleeper-2'" in out
    verdicts = [(c.verdict, c.stop_reason) for c in Confirmation.model_validate_json(file.read_text()).configurations]
    assert verdicts == [(Verdict.UNCERTAIN, "failed"), (Verdict.PASS, "precision")]
    assert clone.nothing_is_left()


def test_a_commit_that_is_not_here_is_said_and_kept(clone):
    file = clone.temporary / "result.json"
    code, out, err = clone.run("suite.confirm", "--base", "HAED", "--json", str(file), CELL)
    assert code == 2 and "unknown commit 'HAED'; nearest: HEAD" in err
    assert json.loads(file.read_text())["configurations"][0]["verdict"] == "uncertain"


def test_interrupted_it_leaves_nothing_behind(clone):
    process = clone.start("suite.confirm", "--base", "HEAD", "--time-limit", "300", CELL)
    try:
        assert process.stdout.readline().startswith("base: ")
        deadline = time.monotonic() + 60
        while not (below := _drivers_in(clone.temporary)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert below
        process.terminate()
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert clone.nothing_is_left()
    assert _drivers_in(clone.temporary) == []


def test_killed_it_leaves_no_process_that_runs_or_is_stopped(clone):
    process = clone.start("suite.confirm", "--base", "HEAD", "--time-limit", "300", CELL)
    deadline = time.monotonic() + 60
    while not _drivers_in(clone.temporary) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    while _drivers_in(clone.temporary) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _drivers_in(clone.temporary) == []
    for left in clone.temporary.glob("text3d-bench-*"):
        shutil.rmtree(left)
    _run("git", "worktree", "prune", cwd=clone.root)


def _drivers_in(folder: Path) -> list[int]:
    """Processes that run a checkout in there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = Path(os.readlink(entry / "cwd")).is_relative_to(folder)
            if inside and b"driver.py" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_shallow_clone_says_how_to_get_the_commit(tmp_path):
    _run("git", "init", "--quiet", str(tmp_path / "origin"))
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    for subject in ("first", "second"):
        _run("git", *who, "commit", "--quiet", "--allow-empty", "-m", subject, cwd=tmp_path / "origin")
    first = _run("git", "rev-parse", "HEAD~1", cwd=tmp_path / "origin").strip()
    _run("git", "clone", "--quiet", "--depth", "1", (tmp_path / "origin").as_uri(), str(tmp_path / "shallow"))
    with pytest.raises(NoCheckout, match=r"unknown commit .*; this clone is shallow: `git fetch --unshallow`"):
        Repository(tmp_path / "shallow").commit(first)
    with pytest.raises(NoCheckout, match="is no git repository"):
        Repository(tmp_path).commit("HEAD")


def test_a_commit_whose_files_are_gone_cannot_be_checked_out(tmp_path):
    _run("git", "init", "--quiet", str(tmp_path))
    (tmp_path / "file").write_text("some text")
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    _run("git", "add", "file", cwd=tmp_path)
    _run("git", *who, "commit", "--quiet", "-m", "first", cwd=tmp_path)
    commit = _run("git", "rev-parse", "HEAD", cwd=tmp_path).strip()
    blob = _run("git", "rev-parse", "HEAD:file", cwd=tmp_path).strip()
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(NoCheckout, match=f"{commit[:10]} cannot be checked out: git worktree: "):
        with Repository(tmp_path).checkout(commit):
            pass
    assert _run("git", "worktree", "list", "--porcelain", cwd=tmp_path).count("worktree ") == 1


def test_commits_are_taken_along_first_parents_from_an_ancestor_only(clone):
    repository = Repository(clone.root)
    good = clone.commit("before")
    _run("git", "checkout", "--quiet", "-b", "side", cwd=clone.root)
    side = clone.commit("on the side")
    _run("git", "checkout", "--quiet", "-", cwd=clone.root)
    main = clone.commit("on main")
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    _run("git", *who, "merge", "--quiet", "--no-ff", "-m", "both", "side", cwd=clone.root)
    merge = repository.commit("HEAD")
    assert commits_between(repository, good, "HEAD") == [good, main, merge]
    for one, other in ((side, main), (main, main), (main, good)):
        with pytest.raises(NotFound, match="is no ancestor of"):
            commits_between(repository, one, other)


@pytest.mark.slow
def test_the_commit_that_made_it_slower_is_found_and_one_that_cannot_run_is_skipped(clone):
    good = clone.commit("good")
    clone.commit("one")
    broken = clone.commit("cannot be imported", building=("def build(", "def build(("))
    clone.commit("can be again", building=("def build((", "def build("))
    slow = clone.commit("sleeps longer", sleepers=("OBJECT_S = 0.02", "OBJECT_S = 0.04"))
    bad = clone.commit("and on")
    code, out, err = clone.run("suite.bisect", good, bad, CELL, *QUICK)
    assert code == 0, out + err
    lines = out.splitlines()
    assert f"{broken[:7]}" in lines[2] and "skipped: head: SyntaxError" in lines[2]
    assert lines[-2].startswith(slow[:7]) and lines[-2].endswith(" sleeps longer")
    assert "made it worse: ×" in lines[-1]
    assert clone.nothing_is_left()


def test_where_the_later_commit_is_not_worse_bisecting_says_so_at_once(clone):
    good, bad = clone.commit("one"), clone.commit("another")
    code, out, err = clone.run("suite.bisect", good, bad, CELL, *QUICK)
    assert code == 2, out + err
    assert "BAD is not worse than GOOD for sure: pass" in err
