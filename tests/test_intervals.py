"""Intervals hold what they promise."""

from __future__ import annotations

import math
import random

import pytest

from suite.judging.intervals import latency_interval, mean_interval, proportion, ratio, relative_half_width, student_t
from suite.records import Interval


def coverage(samples: int, sessions: int = 2_000) -> float:
    """How often the interval of so many normal samples holds the true mean."""
    generator = random.Random(20261123)
    held = 0
    for _ in range(sessions):
        interval = mean_interval([generator.gauss(5.0, 2.0) for _ in range(samples)])
        held += interval.low <= 5.0 <= interval.high
    return held / sessions


@pytest.mark.parametrize("samples", [2, 5, 20])
def test_a_students_t_interval_holds_the_true_mean_95_times_in_100(samples):
    # The standard error of the share over 2,000 sessions is half a per cent.
    assert coverage(samples) == pytest.approx(0.95, abs=0.015)


def test_the_mean_interval_against_a_value_from_a_table():
    # t(0.975, 4) = 2.776; standard deviation of 1..5 is 1.5811.
    interval = mean_interval([1, 2, 3, 4, 5])
    half = 2.776 * 1.5811 / math.sqrt(5)
    assert (interval.value, interval.low, interval.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-3)


def test_students_t_is_scipys():
    from scipy.stats import t

    for freedom in (1, 2, 3.7, 10, 63, 1e4):
        assert student_t(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)


def test_one_sample_gives_no_interval():
    for interval in (mean_interval([2.0]), latency_interval([2.0])):
        assert interval == Interval(value=2.0, low=None, high=None)


def test_a_latency_is_its_median_with_the_interval_of_the_mean_log_time():
    samples = [1.0, 1.1, 1.21, 1.331, 1.4641]  # even in the logarithm, by 10 %
    interval = latency_interval(samples)
    half = 2.776 * math.log(1.1) * 1.5811 / math.sqrt(5)
    assert interval.value == 1.21
    assert interval.low == pytest.approx(1.21 * math.exp(-half), rel=1e-3)
    assert interval.high == pytest.approx(1.21 * math.exp(half), rel=1e-3)


def test_a_latency_interval_always_holds_its_median():
    generator = random.Random(1)
    for _ in range(200):
        interval = latency_interval([generator.paretovariate(1.2) for _ in range(9)])  # skewed, with outliers
        assert interval.low <= interval.value <= interval.high


def test_relative_half_width_reads_two_per_cent_as_such_and_is_infinite_when_unbounded():
    assert relative_half_width(Interval(value=1, low=0.98, high=1.02)) == pytest.approx(0.02, abs=1e-4)
    assert relative_half_width(Interval(value=1)) == math.inf
    assert relative_half_width(Interval(value=1, low=-0.1, high=2)) == math.inf


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilsons_interval_against_published_values(hits, trials, low, high):
    interval = proportion(hits, trials)
    assert (interval.value, interval.low, interval.high) == pytest.approx((hits / trials, low, high), abs=6e-5)


def test_wilsons_interval_stays_within_0_and_1_and_holds_its_share():
    for trials in (1, 2, 32, 153):
        for hits in range(trials + 1):
            interval = proportion(hits, trials)
            assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_a_higher_confidence_gives_a_wider_interval():
    assert proportion(130, 153, 0.98).low < proportion(130, 153).low


def test_a_ratio_combines_the_half_widths_in_the_logarithm():
    two, one = (Interval(value=v, low=v * math.exp(-w), high=v * math.exp(w)) for v, w in ((2, 0.03), (1, 0.04)))
    change = ratio(two, one)
    assert (change.value, change.low, change.high) == pytest.approx((2, 2 * math.exp(-0.05), 2 * math.exp(0.05)))


def test_a_ratio_to_something_without_an_interval_has_none():
    assert ratio(Interval(value=2, low=1.9, high=2.1), Interval(value=4)) == Interval(value=0.5)


def test_a_ratio_of_two_measured_times_holds_the_true_ratio_95_times_in_100():
    generator = random.Random(7)
    held = 0
    for _ in range(1_000):
        slow, fast = (latency_interval([m * math.exp(generator.gauss(0, 0.05)) for _ in range(10)]) for m in (3.0, 1.0))
        change = ratio(slow, fast)
        held += change.low <= 3.0 <= change.high
    assert held / 1_000 >= 0.93  # t intervals combine slightly too wide; never too narrow
