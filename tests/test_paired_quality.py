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


def test_mcnemar_is_scipys_binomial_test():
    from scipy.stats import binomtest

    for won in range(0, 12):
        for lost in range(0, 12):
            expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
            assert mcnemar_p([WON] * won + [LOST] * lost) == pytest.approx(expected, rel=1e-9), (won, lost)


def test_prompts_are_paired_by_their_text_and_only_where_both_were_scored():
    here, there = quality({0, 1, 2}, prompts=5), quality({1, 2, 3}, prompts=4)
    shuffled = here.model_copy(update={"outcomes": here.outcomes[::-1]})
    assert hit_pairs(here, there) == [WON, BOTH, BOTH, LOST]
    assert sorted(hit_pairs(shuffled, there)) == sorted([WON, BOTH, BOTH, LOST])


def test_the_gallery_decides_what_a_hit_is():
    here, there = quality(range(9), prompts=9), quality(set(), prompts=9)
    assert sum(mine for mine, _ in hit_pairs(here, there, 153)) == 9
    assert sum(mine for mine, _ in hit_pairs(here, there, 3001)) == 6  # the factory misses every third there


def test_a_gallery_that_a_prompt_set_lacks_has_no_pairs():
    with_it, without = quality(range(9), prompts=9), quality(range(9), prompts=9, large=False)
    assert len(hit_pairs(without, with_it)) == 9
    for here, there in ((without, with_it), (with_it, without), (without, without)):
        assert hit_pairs(here, there, 3001) == []


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


def table(both: int, won: int, lost: int, neither: int) -> list[tuple[bool, bool]]:
    return [BOTH] * both + [WON] * won + [LOST] * lost + [NEITHER] * neither


@pytest.mark.parametrize(
    ("counts", "value", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table III, method 10; without the correction it is 0.0618 to 0.3242.
        ((20, 12, 2, 16), 0.2, 0.0562, 0.3292),
        # Worked by hand at https://psiaims.github.io/CAMIS/SAS/ci_for_paired_prop.html
        ((20, 15, 6, 5), 0.1957, 0.0026, 0.3699),
    ],
)
def test_the_interval_is_that_of_published_worked_examples(counts, value, low, high):
    interval = difference(table(*counts))
    assert (interval.value, interval.low, interval.high) == pytest.approx((value, low, high), abs=5e-5)


def test_equal_outcomes_leave_a_doubt_that_shrinks_with_the_number_of_prompts():
    """No discordant prompt among n allows a true share of 3 / n of them (the rule of three): never an interval of 0."""
    for hits, prompts in ((153, 153), (100, 153), (0, 153), (32, 32), (1024, 1024)):
        interval = difference(table(hits, 0, 0, prompts - hits))
        assert interval.value == 0
        assert interval.low < -2 / prompts and 2 / prompts < interval.high
        assert interval.high < 4 / prompts or 0 < hits < prompts
    assert difference(table(1000, 0, 0, 24)).high < difference(table(100, 0, 0, 3)).high


@pytest.mark.parametrize(
    ("prompts", "shares"),
    [
        (153, (0.96, 0.01, 0.01, 0.02)),
        (153, (0.80, 0.02, 0.02, 0.16)),
        (153, (0.70, 0.10, 0.05, 0.15)),
        (153, (0.85, 0.005, 0.02, 0.125)),
        (32, (0.70, 0.10, 0.05, 0.15)),
    ],
)
def test_the_interval_covers_the_true_difference_in_95_of_100_repetitions_or_more(prompts, shares):
    generator, covered, truth = random.Random(1), 0, shares[1] - shares[2]
    for _ in range(1000):
        drawn = generator.choices((BOTH, WON, LOST, NEITHER), weights=shares, k=prompts)
        interval = difference(drawn)
        covered += interval.low <= truth <= interval.high
    assert covered >= 940  # 950 ± 1.5 standard errors; few discordant prompts give more


def test_the_interval_mirrors_when_the_two_change_places():
    here, there = difference(table(20, 12, 2, 16)), difference(table(20, 2, 12, 16))
    assert (here.low, here.high) == pytest.approx((-there.high, -there.low))


def test_the_ends_stay_within_one():
    assert difference([WON] * 5).high == 1
    assert difference([LOST] * 5).low == -1


def test_pairs_stay_together():
    """1,000 prompts hit by both vary with the prompts, their difference does not."""
    generator = random.Random(5)
    pairs = [(hit, hit) for hit in (generator.random() < 0.5 for _ in range(1000))] + [WON] * 10
    interval = difference(pairs)
    assert 0 < interval.low and interval.high < 0.02


def test_no_common_prompt_is_said_and_not_a_division_by_zero():
    with pytest.raises(ValueError, match="no .*prompt"):
        difference([])
