"""Two configurations compared prompt by prompt."""

from __future__ import annotations

import random

import pytest

from suite.judging.paired_quality import difference, hit_pairs, mcnemar_p
from tests.factories import quality

WON, LOST, BOTH, NEITHER = (True, False), (False, True), (True, True), (False, False)


@pytest.mark.parametrize(("won", "lost"), [(8, 0), (0, 8), (10, 2), (2, 10), (6, 0)])
def test_mcnemar_sees_8_to_0_and_10_to_2(won, lost):
    assert mcnemar_p([WON] * won + [LOST] * lost + [BOTH] * 100) < 0.05


@pytest.mark.parametrize(("won", "lost"), [(5, 0), (7, 1), (9, 3), (6, 6), (1, 0)])
def test_mcnemar_does_not_see_less(won, lost):
    # 7:1 of eight gives 0.070, 9:3 of twelve 0.146: the bounds that facts.md names.
    assert mcnemar_p([WON] * won + [LOST] * lost + [NEITHER] * 100) > 0.05


def test_mcnemar_is_the_exact_binomial_test_on_discordant_prompts():
    assert mcnemar_p([WON] * 8) == pytest.approx(2 / 2**8)
    assert mcnemar_p([WON] * 10 + [LOST] * 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)


def test_without_discordant_prompts_nothing_differs():
    assert mcnemar_p([BOTH] * 50 + [NEITHER] * 50) == 1.0
    assert mcnemar_p([]) == 1.0


def test_prompts_are_paired_by_their_text_and_only_where_both_were_scored():
    here, there = quality({0, 1, 2}, prompts=5), quality({1, 2, 3}, prompts=4)
    shuffled = here.model_copy(update={"outcomes": here.outcomes[::-1]})
    assert hit_pairs(here, there) == [WON, BOTH, BOTH, LOST]
    assert sorted(hit_pairs(shuffled, there)) == sorted([WON, BOTH, BOTH, LOST])


def test_the_gallery_decides_what_a_hit_is():
    here, there = quality(range(9), prompts=9), quality(set(), prompts=9)
    assert sum(mine for mine, _ in hit_pairs(here, there, 153)) == 9
    assert sum(mine for mine, _ in hit_pairs(here, there, 3001)) == 6  # the factory misses every third there


def test_the_difference_is_that_of_the_hit_rates_inside_its_interval():
    pairs = [WON] * 4 + [LOST] * 19 + [BOTH] * 100 + [NEITHER] * 30
    interval = difference(pairs)
    assert interval.value == pytest.approx(-15 / 153)
    assert interval.low < interval.value < interval.high < 0  # 19:4 is a loss beyond doubt


def test_the_difference_interval_agrees_with_the_normal_one_where_there_are_many_prompts():
    generator = random.Random(3)
    pairs = [(generator.random() < 0.8, generator.random() < 0.7) for _ in range(1024)]
    steps = [int(a) - int(b) for a, b in pairs]
    middle = sum(steps) / len(steps)
    error = (sum((step - middle) ** 2 for step in steps) / len(steps) / len(steps)) ** 0.5
    interval = difference(pairs)
    assert (interval.low, interval.high) == pytest.approx(
        (middle - 1.96 * error, middle + 1.96 * error), abs=0.15 * error
    )


def test_equal_outcomes_differ_by_nothing():
    interval = difference([BOTH] * 100 + [NEITHER] * 53)
    assert interval.value == 0
    assert interval.low <= 0 <= interval.high


def test_the_difference_is_the_same_at_every_call():
    pairs = [WON] * 9 + [LOST] * 3 + [BOTH] * 20
    assert difference(pairs) == difference(pairs)


def test_pairs_stay_together():
    """1,000 prompts hit by both vary with the prompts, their difference does not."""
    generator = random.Random(5)
    pairs = [(hit, hit) for hit in (generator.random() < 0.5 for _ in range(1000))] + [WON] * 10
    interval = difference(pairs)
    assert 0 < interval.low and interval.high < 0.02


def test_no_common_prompt_is_said_and_not_a_division_by_zero():
    with pytest.raises(ValueError, match="no .*prompt"):
        difference([])
