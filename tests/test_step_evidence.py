"""The odds of a step in a series: what they find, what they leave alone, and what is to be known of each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.judging import false_reds, first_alarm, quiet, synthetic, with_step
from benchmarks.known_rules import PAST, ours
from suite.judging.nights import RULE_NIGHT, RULE_STEP, judge_nights
from suite.judging.step_evidence import LENGTHS, MIN_PAST, evidence, smallest_change, spread
from suite.judging.step_finder import steps
from suite.judging.together import moved_together, survivors
from suite.records import Verdict


def nights(level: float, count: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, count)


@pytest.mark.parametrize("level", [0.01, 0.02])
def test_a_step_well_above_the_noise_is_found_within_three_nights(level):
    found = [first_alarm(ours, with_step(nights(level, seed=seed), 0.10), 3) for seed in range(40)]
    assert sum(first is not None for first in found) >= 38


def test_a_step_of_twice_the_noise_is_found_within_ten_nights():
    found = [first_alarm(ours, with_step(nights(0.025, seed=seed), 0.05), 10) for seed in range(40)]
    assert sum(first is not None for first in found) >= 34


@pytest.mark.parametrize("kind", ["plain", "outliers", "drift", "two clocks"])
def test_quiet_months_hardly_ever_cry_wolf(kind):
    chance = np.random.default_rng(11)
    made = [window for level in (0.01, 0.06) for window in synthetic(kind, level, 20, chance)]
    assert sum(first_alarm(ours, window, 30) is not None for window in made) <= 3


@pytest.mark.parametrize("ratio", [1.05, 1.19, 1.37, 1.5, 3.0])
@pytest.mark.parametrize("level", [0.0, 0.01])
def test_three_nights_of_a_plain_step_are_red_whatever_its_size(ratio, level):
    logs = nights(level, 33)
    logs[30:] += math.log(ratio)
    assert judge_nights(np.exp(logs)).verdict == Verdict.REGRESSED


def test_one_wild_night_is_no_step_however_wild():
    logs = np.append(nights(0.01, 40), math.log(50))
    assert not evidence(logs).fires
    assert judge_nights(np.exp(logs)).rule == RULE_NIGHT


def test_a_series_with_spikes_in_its_past_is_not_alarmed_by_the_next_ones():
    logs = nights(0.01, 43, seed=3)
    logs[[5, 9, 16, 23, 30]] += 0.15
    logs[[-3, -1]] += 0.15
    assert not evidence(logs).fires


def test_the_change_is_the_step_with_its_interval():
    found = evidence(with_step(nights(0.01, 36), 0.10))
    assert found.fires
    assert found.change.low < 1.10 < found.change.high
    assert found.change.value == pytest.approx(1.10, abs=0.02)


def test_a_step_down_is_an_improvement_and_a_step_up_a_regression():
    down, up = np.exp(nights(0.01, 34)), np.exp(nights(0.01, 34))
    down[-4:] *= 0.8
    up[-4:] *= 1.25
    better, worse = judge_nights(down), judge_nights(up)
    assert (better.verdict, better.rule) == (Verdict.IMPROVED, RULE_STEP)
    assert better.change.value == pytest.approx(0.8, abs=0.02)
    assert better.change.low < better.change.value < better.change.high
    assert (worse.verdict, worse.rule) == (Verdict.REGRESSED, RULE_STEP)


def test_the_size_of_the_unit_does_not_matter():
    values = np.exp(with_step(nights(0.02, 36), 0.10))
    assert judge_nights(values).verdict == judge_nights(1e9 * values).verdict
    assert judge_nights(values).log_odds == pytest.approx(judge_nights(1e9 * values).log_odds)


def test_figures_that_never_vary_have_a_least_spread():
    values = [60_000_000.0] * 20
    assert judge_nights(values).verdict == Verdict.PASS
    assert judge_nights([*values, 60_010_000.0]).verdict == Verdict.PASS
    assert judge_nights([*values, *[63_000_000.0] * 3]).verdict == Verdict.REGRESSED


def test_too_few_nights_are_no_baseline_and_say_how_many_lack():
    judged = judge_nights([1.0] * (MIN_PAST + LENGTHS[0] - 2))
    assert judged.verdict == Verdict.NO_BASELINE
    assert "2 more" in judged.reason


def test_the_smallest_change_grows_with_the_noise_and_shrinks_with_the_nights():
    fine, coarse = nights(0.01, 40), nights(0.05, 40)
    assert smallest_change(fine, 3) < smallest_change(coarse, 3)
    assert smallest_change(coarse, 10) < smallest_change(coarse, 3)


def test_a_series_shows_the_smallest_change_that_it_states():
    logs = nights(0.02, 40, seed=5)
    step = smallest_change(logs, 10)
    fresh = [np.append(logs[:30], nights(0.02, 10, seed=s) + math.log1p(step)) for s in range(20, 60)]
    assert np.mean([evidence(series).fires for series in fresh]) >= 0.6


def test_the_spread_is_not_fooled_by_a_few_wild_nights():
    logs = nights(0.02, 40)
    logs[::9] += 3
    assert spread(logs) == pytest.approx(0.02, rel=0.5)


def test_the_finder_names_the_night_and_the_ratio_of_each_step():
    logs = nights(0.01, 90, seed=2)
    logs[30:] += math.log(1.2)
    logs[60:] -= math.log(1.1)
    first, second = steps(np.exp(logs))
    assert (first.night, second.night) == (30, 60)
    assert (first.ratio, second.ratio) == (pytest.approx(1.2, rel=0.02), pytest.approx(1 / 1.1, rel=0.02))
    assert steps(np.exp(nights(0.02, 90))) == []


def test_a_wild_night_is_no_step_for_the_finder():
    logs = nights(0.01, 40)
    logs[20] += 2
    assert steps(np.exp(logs)) == []


def test_more_series_need_better_odds_and_strong_ones_help_the_weak():
    weak, strong = 4.0, 12.0
    assert survivors([weak]) == [True]
    assert survivors([weak] + [None] * 299) == [False] + [False] * 299
    assert survivors([strong] + [None] * 299)[0]
    assert survivors([weak] * 60 + [None] * 240)[0]


def test_a_board_of_three_hundred_series_has_two_false_reds_a_month_at_most():
    chance = np.random.default_rng(5)
    made = [window for level in (0.01, 0.06) for window in synthetic("outliers", level, 30, chance)]
    assert np.mean(false_reds(made, 300, 40, chance)) <= 2


def test_a_board_that_moves_as_a_whole_is_told_from_a_few_cells():
    assert moved_together([1] * 4 + [0] * 6) == 0  # four cells of ten are no board
    assert moved_together([1] * 6 + [0] * 6) == 1
    assert moved_together([-1] * 6 + [0] * 6) == -1
    assert moved_together([1] * 6 + [0] * 40) == 0


def test_a_window_is_quiet_when_no_split_moves_it():
    assert quiet(np.tile([0.0, 0.02, -0.02, 0.01], 15))
    assert not quiet(with_step(nights(0.02), 0.10))
    assert len(nights(0.02)[:PAST]) == PAST
