"""What a latency is divided by: nothing, the canary, or the reference of its session, pair by pair where it was timed
in turn with the cell."""

from __future__ import annotations

import math
from itertools import accumulate
from math import exp
from random import Random
from statistics import geometric_mean

import pytest
from pydantic import ValidationError

from leaderboards.rows import measured_rows
from suite.baselines.__main__ import pinned
from suite.configurations import find
from suite.judging.baselines import judge as judge_change
from suite.judging.budgets import judge
from suite.judging.intervals import inverse, latency_interval, ratio, relative_half_width
from suite.judging.latency_units import latency_in, paired_ratio, relative_latency, speedup
from suite.nights.series import value_of
from suite.records import Budget, Interval, Reference, Verdict
from tests.factories import measurement

CELL = measurement("point-e-nano-text/steps-4@cpu", seconds=1.0, spread=0.1, reference_s=4.0, canary_s=0.001)
PAIRS = Interval(value=0.3, low=0.29, high=0.31)
PAIRED = CELL.model_copy(update={"reference": CELL.reference.model_copy(update={"latency_ratio": PAIRS})})


def test_in_seconds_it_is_the_median_itself():
    assert latency_in(CELL, "second") == CELL.latency.median


def test_the_canary_adds_no_width():
    told = latency_in(CELL, "canary")
    assert told.value == pytest.approx(1000 * CELL.latency.median.value)
    assert told.high / told.low == pytest.approx(CELL.latency.median.high / CELL.latency.median.low)


def test_apart_from_the_reference_it_is_the_ratio_of_two_medians():
    told = relative_latency(CELL)
    assert told.value == pytest.approx(CELL.latency.median.value / 4.0)
    assert told.high / told.low > CELL.latency.median.high / CELL.latency.median.low


def test_pairs_say_it_better():
    assert relative_latency(PAIRED) == latency_in(PAIRED, "reference") == PAIRS
    assert speedup(PAIRED) == 1 / PAIRS.value


def test_the_reference_s_own_is_1():
    own = measurement("point-e-nano-text/fp32@cpu", seconds=4.0, spread=0.1)
    reference = CELL.reference.model_copy(update={"latency": own.latency.median})
    assert relative_latency(own.model_copy(update={"reference": reference})) == Interval(value=1.0, low=1.0, high=1.0)


@pytest.mark.parametrize("without", ["latency", "reference"])
def test_what_is_missing_is_not_known(without):
    assert relative_latency(CELL.model_copy(update={without: None})) is None
    assert latency_in(CELL.model_copy(update={"canary_s": None}), "canary") is None


SPEED = [1.0, 1.1, 1.5, 1.4, 1.9, 2.0, 1.8, 1.3]  # of a machine whose neighbours come and go


def test_pairs_know_nothing_of_how_the_machine_s_speed_moves():
    rounds = [1.5 * s for s in SPEED]
    told = paired_ratio(rounds, SPEED, range(1, 9))
    assert (told.low, told.value, told.high) == pytest.approx((1.5, 1.5, 1.5))
    assert relative_half_width(ratio(latency_interval(rounds), latency_interval(SPEED))) > 0.2


def test_a_pair_has_all_rounds_since_the_one_before_it_and_their_mean_counts():
    told = paired_ratio([0.3, *[0.2, 0.3, 0.4] * 4, 9.0], [1.0] * 5, [1, 4, 7, 10, 13])
    assert told.value == pytest.approx(geometric_mean([0.2, 0.3, 0.4])) and told.high < 0.32


def test_of_few_pairs_nothing_is_told():
    assert paired_ratio([2.0] * 9, [1.0] * 4, [1, 2, 3, 4]) is None


def test_the_interval_of_pairs_holds_the_truth_19_times_of_20():
    """A machine whose speed walks, and samples that scatter besides: 400 cells."""
    random, within = Random(19), 0
    for _ in range(400):
        speed = list(accumulate(random.gauss(0, 0.2) for _ in range(5)))
        rounds = [1.3 * exp(s + random.gauss(0, 0.03)) for s in speed]
        others = [exp(s + random.gauss(0, 0.03)) for s in speed]
        told = paired_ratio(rounds, others, range(1, 6))
        within += told.low <= 1.3 <= told.high
    assert 0.92 * 400 < within < 0.985 * 400


@pytest.mark.parametrize("pairs", [{"low": 0.0}, {"low": -1.0}, {"high": math.inf}, {"value": 0.0}])
def test_a_ratio_that_is_none_is_refused_with_its_record(pairs):
    fields = CELL.reference.model_dump() | {"latency_ratio": PAIRS.model_dump() | pairs}
    with pytest.raises(ValidationError, match="latency_ratio"):
        Reference.model_validate(fields)


def test_a_sample_without_its_place_is_refused():
    with pytest.raises(ValidationError, match="1 samples_s and 0 after_rounds"):
        Reference.model_validate(CELL.reference.model_dump() | {"samples_s": [1.0]})


def test_pins_and_what_is_held_against_them_take_the_pairs():
    """Here the reference's seconds say that the cell is as it was, and the pairs that it takes twice as long."""
    sessions = [(PAIRED.model_copy(update={"session": f"s{n}"}), "a file") for n in range(3)]
    pinned_one = pinned(find(CELL.configuration), sessions)
    assert pinned_one.latency.value == pytest.approx(PAIRS.value)
    slow = PAIRS.model_copy(update={"value": 0.6, "low": 0.58, "high": 0.62})
    slower = PAIRED.model_copy(update={"reference": PAIRED.reference.model_copy(update={"latency_ratio": slow})})
    told = {change.quantity: change for change in judge_change(slower, pinned_one)}["latency_ratio"]
    assert told.verdict == Verdict.REGRESSED and told.value.value == pytest.approx(2.0)
    assert value_of(slower, "latency", "reference") == 0.6


def test_an_inverse_turns_its_ends():
    assert inverse(Interval(value=2.0, low=1.0, high=4.0)) == Interval(value=0.5, low=0.25, high=1.0)
    assert inverse(Interval(value=2.0)) == Interval(value=0.5)


def test_rows_and_budgets_take_the_pairs():
    (row,) = measured_rows([PAIRED])
    assert (row.speedup, row.speedup_low, row.speedup_high) == pytest.approx((1 / 0.3, 1 / 0.31, 1 / 0.29))
    assert row.reference_latency_s == 4.0
    budget = Budget(name="latency_ratio", limit=0.28, source="measured", reason="of a test")
    assert judge(budget, PAIRED).verdict == Verdict.OVER_BUDGET
    assert judge(budget, CELL).verdict == Verdict.PASS
