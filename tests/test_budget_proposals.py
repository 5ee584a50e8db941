"""Limits from measured sessions: which levels, with which margins."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.budgets import rules
from suite.judging.budgets import judge
from suite.judging.intervals import proportion
from suite.records import Cost, MachinePeak, StageCost, Status, Verdict
from tests.budget_cases import FP32, STEPS, proposed, sessions
from tests.factories import measurement, session_file


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


def test_the_limit_leaves_room_for_the_slowest_session_where_that_is_more():
    assert rules._limit([1.0, 1.1, 1.0], " s") == (1.5, "1.0000 s × 1.5")
    assert rules._limit([0.2, 0.2, 0.3], " of fp32") == (0.375, "slowest session 0.3000 of fp32 × 1.25")
