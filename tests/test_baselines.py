"""Pinned baselines: what may be compared, and when a configuration is worse."""

from __future__ import annotations

import math
import random

import pytest

from suite.baselines.__main__ import pinned
from suite.configurations import find
from suite.judging.baselines import Baseline, Change, judge, one_more, overall
from suite.records import Status, Verdict
from tests.factories import measurement

FP32, STEPS, W3, ORIN = (f"point-e-nano-text/{n}" for n in ("fp32@cpu", "steps-16@cpu", "w3@cpu", "steps-16@orin"))
QUIET = (1.0, 1.01, 0.99, 1.0, 1.005)


def baseline(configuration: str = ORIN, scatter=QUIET, **fields) -> Baseline:
    """A baseline of as many sessions as there are factors on its two seconds."""
    fields = {"seconds": 2.0, "spread": 0.002, "memory": 60_000_000, "canary_s": 0.001} | fields
    sessions = [
        measurement(
            configuration,
            session=f"s{n}",
            measured_at=f"2026-11-2{n}T00:00:00Z",
            **fields | {"seconds": fields["seconds"] * factor},
        )
        for n, factor in enumerate(scatter)
    ]
    made = pinned(find(configuration), [(m, "a file") for m in sessions])
    assert isinstance(made, Baseline), made
    return made


def now(configuration: str = ORIN, **fields):
    return measurement(configuration, **{"seconds": 2.0, "spread": 0.002, "session": "now"} | fields)


def verdicts(changes: list[Change]) -> dict[str, Verdict]:
    return {change.quantity: change.verdict for change in changes}


# Latency.


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        (2.0, Verdict.PASS),
        (2.02, Verdict.PASS),
        (2.1, Verdict.UNCERTAIN),
        (2.4, Verdict.REGRESSED),
        (1.6, Verdict.IMPROVED),
    ],
)
def test_a_latency_is_judged_by_its_ratio_to_the_level_of_the_sessions(seconds, verdict):
    changes = judge(now(seconds=seconds), baseline())
    assert verdicts(changes)["latency_s"] == verdict
    assert changes[0].value.value == pytest.approx(seconds / 2.0)
    assert f"×{seconds / 2:.3f} of the level of 5 sessions" in changes[0].reason


def test_a_single_noisy_session_is_uncertain_and_not_regressed():
    assert verdicts(judge(now(seconds=2.4, spread=0.4), baseline()))["latency_s"] == Verdict.UNCERTAIN


def test_the_spread_between_the_pinned_sessions_counts():
    """20 % more is far outside of five quiet sessions, and within what three unsteady ones differ by."""
    slower = now(seconds=2.4)
    assert verdicts(judge(slower, baseline()))["latency_s"] == Verdict.REGRESSED
    assert verdicts(judge(slower, baseline(scatter=(0.93, 1.0, 1.07))))["latency_s"] == Verdict.UNCERTAIN


def test_one_sample_is_uncertain():
    assert verdicts(judge(now(samples=1, seconds=9.0), baseline()))["latency_s"] == Verdict.UNCERTAIN


def test_on_a_shared_machine_the_ratio_to_the_same_sessions_reference_is_compared():
    """A machine that is twice as slow today has not made the recipe slower; one that is not, has."""
    pinned_ratio = baseline(STEPS, reference_s=8.0, scatter=(1.0, 1.0, 1.0, 1.0, 1.0))
    assert pinned_ratio.latency.value == pytest.approx(0.25)
    busy = judge(now(STEPS, seconds=4.0, reference_s=16.0), pinned_ratio)
    slower = judge(now(STEPS, seconds=4.0, reference_s=8.0), pinned_ratio)
    assert verdicts(busy)["latency_ratio"] == Verdict.PASS
    assert verdicts(slower)["latency_ratio"] == Verdict.REGRESSED
    alone = judge(now(STEPS, seconds=4.0), pinned_ratio)
    assert verdicts(alone)["latency_ratio"] == Verdict.UNCERTAIN
    assert "no reference" in alone[0].reason


def test_the_reference_itself_is_compared_by_the_canary_on_a_shared_machine():
    pinned_reference = baseline(FP32, reference_s=2.0)
    judged = {
        canary: verdicts(judge(now(FP32, seconds=4.0, reference_s=4.0, canary_s=canary), pinned_reference))["latency_s"]
        for canary in (0.002, 0.001, None)
    }
    assert judged == {0.002: Verdict.PASS, 0.001: Verdict.REGRESSED, None: Verdict.UNCERTAIN}


def test_one_more_session_of_the_same_code_lies_in_the_interval_19_times_of_20():
    generator = random.Random(2)

    def draw() -> float:
        return 2.0 * math.exp(generator.gauss(0, 0.03))

    inside = 0
    for _ in range(2000):
        level = one_more([draw() for _ in range(3)])
        inside += level.low <= draw() <= level.high
    assert 0.94 < inside / 2000 < 0.965


def test_sessions_that_agree_to_the_last_digit_have_an_interval_of_no_width():
    same = one_more([3, 3, 3])
    assert (same.low, same.value, same.high) == pytest.approx((3, 3, 3))


# Memory, quality.


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        (60_500_000, Verdict.PASS),
        (61_200_000, Verdict.PASS),
        (70_000_000, Verdict.REGRESSED),
        (50_000_000, Verdict.IMPROVED),
    ],
)
def test_memory_may_differ_by_two_per_cent(memory, verdict):
    assert verdicts(judge(now(memory=memory), baseline()))["peak_memory_bytes"] == verdict


@pytest.mark.parametrize(
    ("hits", "verdict"),
    [
        (range(130), Verdict.PASS),
        (range(128), Verdict.PASS),  # 2 lost: equal within 5 points
        (range(125), Verdict.UNCERTAIN),  # 5 lost: no proof of a loss, nor of equality
        (range(124), Verdict.REGRESSED),  # 6 lost and none won: p = 0.03
        (range(10, 130), Verdict.REGRESSED),
        (range(138), Verdict.IMPROVED),
        ([*range(8, 130), *range(130, 138)], Verdict.UNCERTAIN),  # 8 won, 8 lost
    ],
)
def test_quality_is_compared_prompt_by_prompt(hits, verdict):
    changes = judge(now(hits=list(hits)), baseline(hits=130))
    assert verdicts(changes)["r_precision"] == verdict


def test_few_prompts_show_no_equality():
    assert verdicts(judge(now(hits=32, prompts=32), baseline(hits=150)))["r_precision"] == Verdict.UNCERTAIN


def test_another_judge_is_not_compared():
    made = now()
    made = made.model_copy(update={"quality": made.quality.model_copy(update={"judge": "another"})})
    change = judge(made, baseline())[-1]
    assert (change.quantity, change.verdict) == ("r_precision", Verdict.NO_BASELINE)
    assert "by another now" in change.reason


def test_a_simulated_recipe_has_quality_only():
    assert set(verdicts(judge(now(W3), baseline(W3)))) == {"r_precision"}


# What may be compared.


@pytest.mark.parametrize("other", [{"torch": "2.14.0"}, {"threads": 2}, {"weights_sha256": "c" * 64}])
def test_other_conditions_are_not_compared_and_are_named(other):
    (change,) = judge(now(seconds=9.0, **other), baseline())
    assert change.verdict == Verdict.NO_BASELINE
    ((name, value),) = other.items()
    assert f"{name} " in change.reason and str(value) in change.reason


def test_without_a_baseline_nothing_is_said_to_have_changed():
    assert [change.verdict for change in judge(now(), None)] == [Verdict.NO_BASELINE]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (Status.CRASHED, Verdict.REGRESSED),
        (Status.OUT_OF_MEMORY, Verdict.REGRESSED),
        (Status.TIMED_OUT, Verdict.REGRESSED),
        (Status.THROTTLED, Verdict.UNCERTAIN),
    ],
)
def test_what_no_longer_ends_well_is_a_regression_but_a_throttled_board_says_nothing(status, verdict):
    assert verdicts(judge(now(status=status), baseline())) == {"status": verdict}


def test_an_end_before_the_conditions_were_known_is_uncertain():
    assert verdicts(judge(now(status=Status.CRASHED, fingerprint=None), baseline())) == {"all": Verdict.UNCERTAIN}


def test_what_was_not_measured_now_has_no_verdict():
    assert set(verdicts(judge(now(hits=None, memory=None), baseline()))) == {"latency_s"}


def test_one_verdict_of_several_is_the_one_to_look_at_first():
    assert overall([Verdict.PASS, Verdict.REGRESSED, Verdict.UNCERTAIN]) == Verdict.REGRESSED
    assert overall([Verdict.PASS, Verdict.IMPROVED, Verdict.UNCERTAIN]) == Verdict.UNCERTAIN
    assert overall([Verdict.PASS, Verdict.IMPROVED, Verdict.NO_BASELINE]) == Verdict.IMPROVED
    assert overall([Verdict.PASS, Verdict.NO_BASELINE]) == Verdict.PASS
    assert overall([Verdict.NO_BASELINE]) == overall([]) == Verdict.NO_BASELINE
