"""Did latency change against a pinned baseline?"""

from __future__ import annotations

import math
import random

import pytest

from suite.judging.intervals import latency_interval, ratio
from suite.judging.latency_change import TOLERANCE, judge_ratio
from suite.records import Interval, Verdict


def judge_change(now, baseline, tolerance=TOLERANCE):
    return judge_ratio(ratio(now, baseline), tolerance)


def interval(value: float, half_width: float = 0.005) -> Interval:
    return Interval(value=value, low=value * math.exp(-half_width), high=value * math.exp(half_width))


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (1.0, Verdict.PASS),
        (1.03, Verdict.PASS),
        (0.97, Verdict.PASS),
        (1.20, Verdict.REGRESSED),
        (0.80, Verdict.IMPROVED),
        (1 + TOLERANCE, Verdict.UNCERTAIN),
        (1 / (1 + TOLERANCE), Verdict.UNCERTAIN),
    ],
)
def test_a_change_is_judged_by_where_its_whole_interval_lies(now, verdict):
    assert judge_change(interval(now), interval(1.0)) == verdict


def test_a_large_change_within_the_noise_is_uncertain_and_not_regressed():
    assert judge_change(interval(1.2, 0.3), interval(1.0)) == Verdict.UNCERTAIN
    assert judge_change(interval(1.2), interval(1.0, 0.3)) == Verdict.UNCERTAIN  # a baseline's own noise counts too


def test_one_sample_on_either_side_is_uncertain():
    assert judge_change(Interval(value=9.0), interval(1.0)) == Verdict.UNCERTAIN
    assert judge_change(interval(9.0), Interval(value=1.0)) == Verdict.UNCERTAIN


def test_the_tolerance_can_be_named():
    assert judge_change(interval(1.08), interval(1.0), tolerance=0.1) == Verdict.PASS
    assert judge_change(interval(1.08), interval(1.0), tolerance=0.02) == Verdict.REGRESSED


def test_doubling_and_halving_mirror_each_other():
    assert judge_change(interval(2.0), interval(1.0)) == Verdict.REGRESSED
    assert judge_change(interval(1.0), interval(2.0)) == Verdict.IMPROVED


def test_equal_code_is_seldom_called_changed_and_ten_per_cent_is_found():
    generator = random.Random(11)

    def session(middle: float) -> Interval:
        return latency_interval([middle * math.exp(generator.gauss(0, 0.03)) for _ in range(12)])

    same = [judge_change(session(1.0), session(1.0)) for _ in range(300)]
    slower = [judge_change(session(1.12), session(1.0)) for _ in range(300)]
    assert sum(v in (Verdict.REGRESSED, Verdict.IMPROVED) for v in same) <= 3
    assert sum(v == Verdict.REGRESSED for v in slower) >= 200
    assert sum(v == Verdict.IMPROVED for v in slower) == 0
