"""What a latency is divided by: nothing, the canary, or the reference of its session, pair by pair where it was timed
in turn with the cell."""

from __future__ import annotations

import pytest

from leaderboards.rows import measured_rows
from suite.judging.budgets import judge
from suite.judging.intervals import inverse
from suite.judging.latency_units import latency_in, relative_latency
from suite.records import Budget, Interval, Verdict
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
    assert PAIRED.speedup == 1 / PAIRS.value


def test_the_reference_s_own_is_1():
    own = measurement("point-e-nano-text/fp32@cpu", seconds=4.0, spread=0.1)
    reference = CELL.reference.model_copy(update={"latency": own.latency.median})
    assert relative_latency(own.model_copy(update={"reference": reference})) == Interval(value=1.0, low=1.0, high=1.0)


@pytest.mark.parametrize("without", ["latency", "reference"])
def test_what_is_missing_is_not_known(without):
    assert relative_latency(CELL.model_copy(update={without: None})) is None
    assert latency_in(CELL.model_copy(update={"canary_s": None}), "canary") is None


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
