"""`python -m suite.budgets propose`: limits from measured sessions."""

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
from suite.judging.budgets import judge, load_budgets
from suite.judging.intervals import proportion
from suite.records import Budget, Cost, MachinePeak, StageCost, Status, Verdict
from tests.factories import measurement, session_file

ROOT = Path(__file__).parents[1]
FP32, STEPS = (f"point-e-nano-text/{name}@cpu" for name in ("fp32", "steps-16"))
GOOD = 'latency_s = { limit = 1.0, source = "measured", reason = "r" }\n'


@pytest.fixture
def own_budgets(tmp_path, monkeypatch):
    """An empty budgets folder in place of the project's, read by configurations and written by `propose`."""
    monkeypatch.setattr(configurations, "BUDGETS", tmp_path)
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    configurations._budgets.cache_clear()
    yield tmp_path
    configurations._budgets.cache_clear()


def sessions(folder: Path, count: int, **fields) -> list[Path]:
    """So many fresh processes' runs of a reference and a fast recipe."""
    paths = []
    for n in range(count):
        common = {"session": f"s{n}", "measured_at": f"2026-11-2{n}T00:00:00Z", "canary_s": 0.001 * (1 + n)} | fields
        made = [
            measurement(
                FP32, **{"seconds": 2.0 + n, "memory": 60_000_000 + n, "hits": 130 - n, "reference_s": 2.0 + n} | common
            ),
            measurement(
                STEPS,
                **{"seconds": 0.5 + n / 4, "memory": 50_000_000, "hits": 120 + n, "reference_s": 2.0 + n} | common,
            ),
        ]
        paths.append(session_file(folder / f"000{n}_s.json", made))
    return paths


def proposed(own_budgets: Path, paths: list[Path], device: str = "cpu") -> dict[str, dict[str, Budget]]:
    """What `propose` writes, read again."""
    assert command.main(["propose", "--device", device, *map(str, paths)]) == 0
    loaded = load_budgets(own_budgets / f"{device}.toml")
    return {recipe: {b.name: b for b in budgets} for recipe, budgets in loaded.items()}


def test_three_sessions_give_levels_with_their_margins(own_budgets, tmp_path):
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3))
    reference, fast = budgets["point-e-nano-text/fp32"], budgets["point-e-nano-text/steps-16"]
    assert set(reference) == {"latency_s", "peak_memory_bytes", "r_precision"}
    assert set(fast) == {"latency_ratio", "peak_memory_bytes", "r_precision"}
    assert reference["latency_s"].limit == pytest.approx(4.0 * 1.25)  # the slowest session: 3.0 * 1.5 is less
    assert reference["latency_s"].canary_s == pytest.approx(0.002)
    assert reference["peak_memory_bytes"].limit == 60_000_002 + 32_000_000  # × 1.15 is less
    assert reference["r_precision"].limit == pytest.approx(proportion(128, 153, 0.98).low, abs=1e-4)
    assert fast["latency_ratio"].limit == pytest.approx(0.25 * 1.5)
    assert fast["r_precision"].limit == pytest.approx(proportion(120, 153, 0.98).low, abs=1e-4)
    for b in (*reference.values(), *fast.values()):
        assert b.source == "measured"
        assert "3 sessions on laptop" in b.reason


def test_no_limit_on_latency_comes_from_machines_without_the_recipes_arithmetic(own_budgets, tmp_path):
    peak = MachinePeak(flops_per_s={"float32": 100.0, "bfloat16": 1.0}, bytes_per_s=10.0)
    cost = Cost(stages={"base diffusion": StageCost(flops={"bfloat16": 9}, bytes_moved=1)}, peak=peak)
    fast = proposed(own_budgets, sessions(tmp_path / "runs", 3, cost=cost))["point-e-nano-text/steps-16"]
    assert fast["latency_ratio"].limit is None and "arithmetic in bfloat16" in fast["latency_ratio"].reason
    assert fast["peak_memory_bytes"].limit is not None


def test_the_quality_limit_is_the_lower_99_per_cent_bound():
    from statistics import NormalDist

    z, n, p = NormalDist().inv_cdf(0.99), 153, 130 / 153
    centre, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5,
    )
    assert proportion(130, 153, rules.QUALITY_CONFIDENCE).low == pytest.approx(centre - half, abs=1e-6)


def test_what_was_measured_passes_the_budgets_proposed_from_it(own_budgets, tmp_path):
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3))
    again = measurement(STEPS, seconds=0.5, memory=50_000_000, hits=120, reference_s=2.0)
    assert {judge(b, again).verdict for b in budgets["point-e-nano-text/steps-16"].values()} == {Verdict.PASS}


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


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_sessions_give_unset_with_the_reason(own_budgets, tmp_path, count):
    for b in proposed(own_budgets, sessions(tmp_path / "runs", count))["point-e-nano-text/fp32"].values():
        assert b.source == "unset"
        assert f"{count} of at least 3 sessions" in b.reason


def test_one_session_given_four_times_is_one_session(own_budgets, tmp_path):
    for b in proposed(own_budgets, sessions(tmp_path / "runs", 1) * 4)["point-e-nano-text/fp32"].values():
        assert b.source == "unset"
        assert "1 of at least 3 sessions" in b.reason


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"status": Status.CRASHED}, set()),
        ({"status": Status.THROTTLED}, set()),
        # A smoke run takes its time and memory as a full one does, before it scores fewer prompts.
        ({"smoke": True}, {"latency_s", "peak_memory_bytes"}),
        ({"smoke": True, "status": Status.CRASHED}, set()),
    ],
    ids=["crashed", "throttled", "smoke", "crashed smoke"],
)
def test_failures_count_for_nothing_and_smoke_runs_for_everything_but_quality(own_budgets, tmp_path, fields, counted):
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3, **fields))["point-e-nano-text/fp32"]
    assert {name for name, b in budgets.items() if b.source == "measured"} == counted
    assert set(budgets) == {"latency_s", "peak_memory_bytes", "r_precision"}


def test_one_full_session_among_short_ones_gives_the_quality_limit(own_budgets, tmp_path):
    paths = sessions(tmp_path / "runs", 1) + sessions(tmp_path / "short", 3, smoke=True, quality=None)[1:]
    budgets = proposed(own_budgets, paths)["point-e-nano-text/fp32"]
    assert budgets["latency_s"].limit == pytest.approx(4.0 * 1.25)
    assert budgets["r_precision"].limit == pytest.approx(proportion(130, 153, 0.98).low, abs=1e-4)


@pytest.mark.parametrize("missing", [{"reference": None}, {"quality": None}, {"latency": None}, {"memory": None}])
def test_a_value_that_no_session_has_is_unset_and_the_others_are_set(own_budgets, tmp_path, missing):
    paths = sessions(tmp_path / "runs", 3, **missing)
    budgets = proposed(own_budgets, paths)["point-e-nano-text/steps-16"]
    kind = {
        "reference": "latency_ratio",
        "latency": "latency_ratio",
        "memory": "peak_memory_bytes",
        "quality": "r_precision",
    }
    lacking = kind[next(iter(missing))]
    assert {name: b.source for name, b in budgets.items()} == {
        name: "unset" if name == lacking else "measured"
        for name in ("latency_ratio", "peak_memory_bytes", "r_precision")
    }


def test_named_boards_get_seconds(own_budgets, tmp_path):
    orin = "point-e-nano-text/steps-16@orin"
    paths = [
        session_file(
            tmp_path / "runs" / f"{n}.json",
            [measurement(orin, seconds=1.0, session=f"s{n}", board="agx", reference_s=4.0)],
        )
        for n in range(3)
    ]
    budgets = proposed(own_budgets, paths, "orin")["point-e-nano-text/steps-16"]
    assert budgets["latency_s"].limit == pytest.approx(1.5)
    assert budgets["latency_s"].canary_s is None


def test_sessions_that_may_not_be_compared_are_not_mixed(own_budgets, tmp_path):
    """Three sessions with three networks' weights say nothing about the noise of one."""
    paths = [sessions(tmp_path / digest, 3, weights_sha256=digest * 64)[n] for n, digest in enumerate("abc")]
    for b in proposed(own_budgets, paths)["point-e-nano-text/fp32"].values():
        assert b.source == "unset"


def on_another_board(folder: Path, device: str, **fields) -> Path:
    """One session of before, on a board where the fast recipe gains less, takes more and is recognized less often."""
    said = {"seconds": 1.5, "reference_s": 2.0, "memory": 90_000_000, "hits": 100, "board": "server", "session": "s"}
    fast = measurement(
        f"point-e-nano-text/steps-16@{device}", **said | {"measured_at": "2026-11-01T00:00:00Z"} | fields
    )
    return session_file(folder / "other.json", [fast])


def test_a_limit_of_any_processor_is_one_that_no_processors_session_breaks(own_budgets, tmp_path):
    paths = [on_another_board(tmp_path, "cpu"), *sessions(tmp_path / "runs", 3)]
    budgets = proposed(own_budgets, paths)["point-e-nano-text/steps-16"]
    assert budgets["latency_ratio"].limit == pytest.approx(0.75 * 1.25)
    assert budgets["peak_memory_bytes"].limit == pytest.approx(90_000_000 * 1.15, abs=1)  # and 82 MB by its own
    assert budgets["r_precision"].limit == pytest.approx(proportion(100, 153, 0.98).low, abs=1e-4)
    for name in ("latency_ratio", "peak_memory_bytes", "r_precision"):
        assert "on server; 3 sessions on laptop" in budgets[name].reason


def test_large_models_memory_has_15_per_cent_of_room_which_is_more_than_code_takes(own_budgets, tmp_path):
    budgets = proposed(own_budgets, sessions(tmp_path / "runs", 3, memory=2_000_000_000))
    assert budgets["point-e-nano-text/fp32"]["peak_memory_bytes"].limit == 2_300_000_000


def test_a_references_limit_holds_another_processors_seconds_by_its_canary(own_budgets, tmp_path):
    paths = sessions(tmp_path / "runs", 3)  # 4.0 s at the most, at canaries of 0.002 s in the middle
    for seconds, canary_s, limit in ((2.0, 0.0005, 8.0 * 1.25), (2.0, 0.002, 4.0 * 1.25)):
        reference = {"seconds": seconds, "canary_s": canary_s, "reference_s": seconds}
        said = {"board": "server", "session": "s", "measured_at": "2026-11-01T00:00:00Z"}
        other = session_file(tmp_path / f"{canary_s}.json", [measurement(FP32, **said | reference)])
        assert proposed(own_budgets, [other, *paths])["point-e-nano-text/fp32"]["latency_s"].limit == limit


@pytest.mark.parametrize("other", [{"weights_sha256": "c" * 64}, {"gallery_sha256": "c" * 64}])
def test_what_another_board_made_of_other_weights_says_nothing(own_budgets, tmp_path, other):
    alone = proposed(own_budgets, paths := sessions(tmp_path / "runs", 3))
    assert proposed(own_budgets, [on_another_board(tmp_path, "cpu", **other), *paths]) == alone


def test_other_boards_alone_are_no_three_sessions(own_budgets, tmp_path):
    paths = [on_another_board(tmp_path, "cpu"), *sessions(tmp_path / "runs", 2)]
    for b in proposed(own_budgets, paths)["point-e-nano-text/steps-16"].values():
        assert b.source == "unset" and "2 of at least 3 sessions" in b.reason


def test_a_limit_of_one_board_is_of_its_own_sessions(own_budgets, tmp_path):
    orin = [
        session_file(
            tmp_path / "runs" / f"{n}.json",
            [
                measurement(
                    "point-e-nano-text/steps-16@orin", seconds=1.0, session=f"s{n}", board="agx", memory=50_000_000
                )
            ],
        )
        for n in range(3)
    ]
    budgets = proposed(own_budgets, [on_another_board(tmp_path, "orin"), *orin], "orin")["point-e-nano-text/steps-16"]
    assert budgets["latency_s"].limit == pytest.approx(1.5)
    assert budgets["peak_memory_bytes"].limit == pytest.approx(50_000_000 * 1.15, abs=1)


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


def test_the_limit_leaves_room_for_the_slowest_session_where_that_is_more():
    assert rules._limit([1.0, 1.1, 1.0], " s") == (1.5, "1.0000 s × 1.5")
    assert rules._limit([0.2, 0.2, 0.3], " of fp32") == (0.375, "slowest session 0.3000 of fp32 × 1.25")
