"""`python -m suite.budgets propose`: the file that it writes, and what it keeps of the one before."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import suite.budgets.__main__ as command
from suite import configurations
from suite.budgets import rules
from suite.budgets.text import lines_of
from suite.catalogue.devices import DEVICES
from suite.catalogue.recipes import RunsOn
from suite.configurations import find
from suite.judging.budgets import load_budgets
from suite.records import Budget, Status
from tests.budget_cases import FP32, proposed, sessions
from tests.factories import measurement, session_file

ROOT = Path(__file__).parents[1]
GOOD = 'latency_s = { limit = 1.0, source = "measured", reason = "r" }\n'


def test_the_whole_matrix_of_the_device_is_in_the_file_and_unmeasured_recipes_are_unset(own_budgets, tmp_path):
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3))
    assert set(budgets) == {c.recipe for c in configurations.matrix() if c.device.name == "cpu"}
    assert "latency_ratio" not in budgets["point-e-nano-text/w3"]
    for b in budgets["point-e-nano-text/bf16"].values():
        assert (b.source, b.limit) == ("unset", None)
        assert "0 of at least 3 sessions" in b.reason


@pytest.mark.parametrize("count, limits", [(2, set()), (3, {"latency_ratio", "peak_memory_bytes", "r_precision"})])
def test_a_recipe_that_runs_by_name_has_an_entry_where_it_was_measured_often_enough(
    own_budgets, tmp_path, count, limits
):
    """Also a composed one, beside those of the matrix; asked again without it, it stays."""
    named = ["shap-e-nano-text/euler-4@cpu", "point-e-nano-text/dpmpp-2+w8@cpu"]
    paths = [
        session_file(tmp_path / f"{n}.json", [measurement(name, session=f"s{n}", reference_s=2.0) for name in named])
        for n in range(count)
    ]
    for given in (paths, []):
        budgets = proposed(own_budgets, given)
        for name in named:
            assert set(budgets.get(name.partition("@")[0], {})) == limits
            configurations._budgets.cache_clear()
            assert {b.name for b in configurations.find(name).budgets} == limits


def test_proposing_keeps_what_the_sessions_say_nothing_about(own_budgets, tmp_path):
    """An expected status and measured limits are not erased by a proposal without a measurement of them."""
    kept = (
        '["point-e-nano-text/bf16"]\nstatus = { expect = "crashed", source = "published", reason = "by hand" }\n'
        '["point-e-nano-text/steps-8"]\nr_precision = { limit = 0.5, source = "measured", reason = "three sessions" }\n'
    )
    (own_budgets / "cpu.toml").write_text(kept)
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3))
    assert budgets["point-e-nano-text/bf16"]["status"].expect == Status.CRASHED
    assert budgets["point-e-nano-text/steps-8"]["r_precision"].limit == 0.5


def test_too_few_new_sessions_do_not_erase_what_three_gave(own_budgets, tmp_path):
    before = proposed(own_budgets, sessions(tmp_path / "runs", 3))["point-e-nano-text/fp32"]
    after = proposed(own_budgets, sessions(tmp_path / "one", 1))["point-e-nano-text/fp32"]
    assert after == before


def test_an_expected_status_that_came_about_is_not_erased(own_budgets, tmp_path):
    expect = '["point-e-nano-text/fp32"]\nstatus = { expect = "out-of-memory", source = "measured", reason = "r" }\n'
    (own_budgets / "cpu.toml").write_text(expect)
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3, status=Status.OUT_OF_MEMORY))
    assert budgets["point-e-nano-text/fp32"]["status"].expect == Status.OUT_OF_MEMORY


STALE = """latency_s = { limit = 9.0, source = "measured", reason = "before it was a ratio" }
status = { source = "unset", reason = "unsupported: once" }
r_precision = { limit = 0.5, source = "measured", reason = "three sessions" }
"""


def test_lines_that_no_longer_apply_to_an_entry_go(own_budgets, tmp_path):
    """Seconds where the limit is now a ratio, or of a simulated recipe, and the mark of what is supported by now."""
    (own_budgets / "cpu.toml").write_text(f'["point-e-nano-text/steps-16"]\n{STALE}["point-e-nano-text/w3"]\n{STALE}')
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3))
    assert set(budgets["point-e-nano-text/steps-16"]) == {"latency_ratio", "peak_memory_bytes", "r_precision"}
    assert set(budgets["point-e-nano-text/w3"]) == {"r_precision"}
    assert budgets["point-e-nano-text/w3"]["r_precision"].limit == 0.5


def test_limits_of_what_is_unsupported_by_now_go(own_budgets, tmp_path):
    expect = 'status = { expect = "out-of-memory", source = "published", reason = "r" }\n'
    (own_budgets / "t4.toml").write_text(f'["point-e-nano-text/bf16"]\n{GOOD}{expect}')
    entry = proposed(own_budgets, sessions(tmp_path / "runs", 3), "t4")["point-e-nano-text/bf16"]
    assert set(entry) == {"status"}
    assert entry["status"].source == "unset" and "unsupported" in entry["status"].reason


def test_reasons_with_quotes_and_backslashes_load_again(tmp_path):
    fp32 = find(FP32)
    awkward = replace(fp32, optimization=replace(fp32.optimization, runs_on=(RunsOn((), 'needs "x86\\64"\nor more'),)))
    path = tmp_path / "cpu.toml"
    path.write_text("\n".join(lines_of(awkward.recipe, rules.entry(awkward, []))))
    budgets = load_budgets(path)
    assert 'needs "x86\\64"' in budgets["point-e-nano-text/fp32"][0].reason


LINES = {
    "point-e-nano-text/fp32": (
        Budget(name="status", expect=Status.OUT_OF_MEMORY, source="published", reason='by "hand"'),
        Budget(name="latency_s", limit=4.1623, canary_s=0.002248, source="measured", reason="2.7749 s × 1.5"),
        Budget(name="peak_memory_bytes", limit=60_335_514, source="measured", reason="peak × 1.15"),
        Budget(name="r_precision", source="unset", reason="no session scored all prompts"),
    ),
    "point-e-nano-text/w3": (Budget(name="r_precision", source="unset", reason="C:\\n"),),
    "point-e-nano-text/bf16": tuple(
        Budget(name=n, source="unset", reason="one") for n in ("latency_ratio", "r_precision")
    ),
    "point-e-nano-text/steps-4": tuple(
        Budget(name=n, source="unset", reason=n) for n in ("latency_ratio", "r_precision")
    ),
}


def test_budgets_are_written_a_line_each_or_one_for_what_is_unset_for_one_reason_and_load_again(tmp_path):
    lines = {recipe: lines_of(recipe, budgets) for recipe, budgets in LINES.items()}
    assert [len(written) for written in lines.values()] == [4, 1, 1, 2]
    assert lines["point-e-nano-text/bf16"] == [
        '"point-e-nano-text/bf16" = { unset = ["latency_ratio", "r_precision"], reason = "one" }'
    ]
    path = tmp_path / "cpu.toml"
    path.write_text("\n".join(line for written in lines.values() for line in written))
    assert load_budgets(path) == LINES


@pytest.mark.parametrize("device", DEVICES)
def test_proposing_again_without_sessions_changes_no_committed_budget(tmp_path, device):
    path = tmp_path / f"{device}.toml"
    path.write_text(command.propose(device, []))
    assert load_budgets(path) == load_budgets(ROOT / "suite" / "budgets" / path.name)


def test_a_malformed_file_is_said_and_left_as_it_is(own_budgets, capsys):
    path = own_budgets / "cpu.toml"
    path.write_text('"point-e-nano-text/bf16" = { unset = ["latency"], reason = "r" }\n')
    assert command.main(["propose", "--device", "cpu"]) == 2
    assert f"{path}:1:" in (error := capsys.readouterr().err) and "nearest: latency_s" in error
    assert "latency" in path.read_text() and len(path.read_text().splitlines()) == 1


def test_propose_reads_a_journal_folder_as_well(own_budgets, tmp_path):
    from suite.saving import Journal

    journals = [Journal(tmp_path / "journal" / f"s{n}") for n in range(3)]
    for n, journal in enumerate(journals):
        journal.write("fp32", measurement(FP32, session=f"s{n}", reference_s=2.0))
    budgets = proposed(own_budgets, [journal.folder for journal in journals])
    assert budgets["point-e-nano-text/fp32"]["latency_s"].source == "measured"


def test_propose_runs_as_a_module_and_can_print_only(tmp_path):
    before = {path: path.read_bytes() for path in (ROOT / "suite" / "budgets").glob("*.toml")}
    paths = sessions(tmp_path, 3)
    run = subprocess.run(
        [sys.executable, "-m", "suite.budgets", "propose", "--print", "--device", "cpu", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (tmp_path / "printed.toml").write_text(run.stdout)
    assert load_budgets(tmp_path / "printed.toml")["point-e-nano-text/fp32"][0].limit == pytest.approx(5.0)
    assert before == {path: path.read_bytes() for path in (ROOT / "suite" / "budgets").glob("*.toml")}


def test_an_unknown_device_is_answered_with_the_nearest(own_budgets, capsys):
    assert command.main(["propose", "--device", "orrin"]) == 2
    assert "unknown device 'orrin'; nearest: orin" in capsys.readouterr().err
    assert list(own_budgets.iterdir()) == []


@pytest.mark.parametrize("content", [None, "{", '{"benchmarks": 1, "cells": [{}]}', "[]"])
def test_a_session_that_cannot_be_read_is_an_error_in_one_line_and_writes_nothing(
    own_budgets, tmp_path, capsys, content
):
    path = tmp_path / "runs" / "broken.json"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    assert command.main(["propose", "--device", "cpu", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and len(error.strip().splitlines()) == 1
    assert not (own_budgets / "cpu.toml").exists()
    assert content is None or path.read_text() == content  # a file that the user named is left alone
