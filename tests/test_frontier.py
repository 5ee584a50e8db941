"""The frontier's rule under noise, and the constraint query."""

from __future__ import annotations

import itertools
import random

import moocore
import pytest

from leaderboards.choice import answer
from leaderboards.dominance import Figure
from leaderboards.frontier import Candidate, candidate, comparable, dominates, frontier, key, why_unranked
from suite.judging.intervals import proportion
from suite.records import Interval, Status
from tests.factories import quality, row

NANO = "point-e-nano-text"


def entry(
    seconds: float = 1.0,
    memory: int = 100_000_000,
    hits: float = 0.8,
    noise: float = 0.01,
    quality_noise: float = 0.06,
    **others,
) -> Candidate:
    return Candidate(
        latency=Interval(value=seconds, low=seconds * (1 - noise), high=seconds * (1 + noise)),
        peak_memory_bytes=memory,
        r_precision=Interval(value=hits, low=hits - quality_noise, high=hits + quality_noise),
        **others,
    )


def test_a_faster_row_of_equal_memory_and_quality_removes_the_slower_one():
    assert frontier([entry(1.0), entry(2.0)]) == [True, False]


def test_ties_stay_together():
    assert frontier([entry(1.00), entry(1.03), entry(1.01, memory=101_000_000)]) == [True, True, True]


@pytest.mark.parametrize(
    ("better", "worse", "removed"),
    [
        (entry(1.00, noise=0.20), entry(1.30, noise=0.20), False),  # intervals overlap
        (entry(1.00, noise=0.20), entry(1.60, noise=0.20), True),
        (entry(1.00, noise=0.001), entry(1.04, noise=0.001), False),  # apart, yet within what fresh processes differ by
        (entry(1.00, noise=0.001), entry(1.06, noise=0.001), True),
    ],
)
def test_latency_needs_intervals_apart_and_more_than_processes_differ_by(better, worse, removed):
    assert dominates(better, worse) is removed
    assert not dominates(worse, better)


@pytest.mark.parametrize(("memory", "removed"), [(101_900_000, False), (102_100_000, True)])
def test_memory_under_two_percent_is_noise(memory, removed):
    assert frontier([entry(), entry(memory=memory)]) == [True, not removed]


def test_memory_within_noise_keeps_no_slow_row_on_the_frontier():
    assert frontier([entry(1.0, memory=100_500_000), entry(2.0, memory=100_000_000)]) == [True, False]


def test_a_faster_row_with_fewer_hits_within_noise_does_not_remove_the_better_one():
    fast, good = entry(0.5, hits=0.79), entry(1.0, hits=0.80)
    assert frontier([fast, good]) == [True, True]


def test_one_sample_has_no_interval_and_shows_nothing():
    single = Candidate(Interval(value=0.1), 100_000_000, Interval(value=0.8, low=0.74, high=0.86))
    assert not dominates(single, entry(5.0))
    assert not dominates(entry(0.01), single)


def test_quality_is_compared_prompt_by_prompt_where_outcomes_are_known():
    """8.5 points apart overlap as intervals; as pairs, 13 prompts lost and none won are beyond noise."""
    good, bad = quality(125), quality(112)
    assert good.r_precision.low < bad.r_precision.high
    blind = [Candidate(entry().latency, 10**8, q.r_precision) for q in (good, bad)]
    paired = [Candidate(entry().latency, 10**8, q.r_precision, q) for q in (good, bad)]
    assert frontier(blind) == [True, True]
    assert frontier(paired) == [True, False]


def test_few_discordant_prompts_are_noise():
    more, fewer = quality(125), quality(120)
    paired = [Candidate(entry().latency, 10**8, q.r_precision, q) for q in (more, fewer)]
    assert frontier(paired) == [True, True]  # 5 to 0: exact McNemar p = 0.0625


def test_a_smoke_run_is_never_ranked_with_full_ones():
    smoke, full = entry(0.5, smoke=True), entry(1.0)
    assert frontier([smoke, full]) == [None, True]
    assert frontier([entry(2.0, smoke=True), full, entry(3.0)]) == [None, True, False]
    assert frontier([smoke, entry(1.0, smoke=True)]) == [True, False]  # among their like


def test_what_may_not_be_ranked_removes_nothing_and_keeps_no_smoke_run_out():
    assert frontier([None, entry(1.0, smoke=True), entry(2.0)]) == [None, None, True]
    assert frontier([None, entry(1.0, smoke=True)]) == [None, True]
    assert frontier([]) == []


def test_agrees_with_moocore_where_noise_plays_no_part():
    """On a grid whose steps are all beyond noise the rule is plain Pareto dominance."""
    generator = random.Random(7)
    for _ in range(60):
        points = [[generator.randrange(6) for _ in range(3)] for _ in range(generator.randrange(1, 25))]
        ours = frontier([entry(1.3**t, int(10**8 * 1.3**m), 0.9 - 0.1 * q, quality_noise=0.01) for t, m, q in points])
        assert ours == list(moocore.is_nondominated(points, keep_weakly=True))


def noisy(generator: random.Random, count: int) -> list[Candidate]:
    return [
        entry(
            1.04 ** generator.uniform(0, 4),
            int(10**8 * 1.015 ** generator.uniform(0, 4)),
            generator.choice([0.78, 0.79, 0.80]),
            noise=generator.choice([0.002, 0.02]),
            quality_noise=0.004,
        )
        for _ in range(count)
    ]


def test_under_noise_some_row_always_stays_and_the_order_of_rows_does_not_matter():
    generator = random.Random(3)
    for _ in range(300):
        candidates = noisy(generator, generator.randrange(1, 9))
        marks = frontier(candidates)
        most = max(c.r_precision.value for c in candidates)
        assert any(mark for mark, c in zip(marks, candidates) if c.r_precision.value == most)
        order = generator.sample(range(len(candidates)), len(candidates))
        assert frontier([candidates[n] for n in order]) == [marks[n] for n in order]


def test_no_three_rows_beat_each_other_in_a_circle():
    generator = random.Random(5)
    for _ in range(1000):
        a, b, c = noisy(generator, 3)
        assert not (dominates(a, b) and dominates(b, c) and dominates(c, a))
        for x, y in itertools.permutations((a, b, c), 2):
            assert not (dominates(x, y) and dominates(y, x))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"source": "published"}, "published"),
        ({"status": Status.TIMED_OUT}, "timed-out"),
        ({"simulated": True}, "simulated"),
        ({"extrapolated": True}, "extrapolated"),
        ({"weights": "random"}, "random weights"),
        ({"latency_s": None}, "latency_s"),
        ({"peak_memory_bytes": None}, "peak_memory_bytes"),
        ({"r_precision": None}, "r_precision"),
        ({"r_precision": 0.0, "r_precision_low": 0.0}, "failed quality: no better than chance (1 in 153)"),
        ({"r_precision_low": 1 / 153}, "failed quality"),
        ({"r_precision": 0.001, "r_precision_low": 0.0005, "r_precision_high": 0.002}, "failed quality"),  # worse
        ({"r_precision": 1 / 153, "r_precision_low": None, "r_precision_high": None}, "failed quality"),
        ({"r_precision_low": 0.0, "simulated": True}, "failed quality"),  # the graver reason
    ],
)
def test_what_is_not_ranked_says_why(fields, why):
    assert why in why_unranked(row(**fields))
    assert candidate(row(**fields)) is None


@pytest.mark.parametrize("low", [1 / 153 + 1e-9, None])
def test_a_row_above_chance_is_ranked(low):
    assert why_unranked(row(r_precision=0.02, r_precision_low=low, r_precision_high=None)) is None


def test_of_153_objects_3_hits_are_told_from_chance_and_2_are_not():
    for hits, failed in ((0, True), (1, True), (2, True), (3, False)):
        share = proportion(hits, 153)
        scored = row(r_precision=share.value, r_precision_low=share.low, r_precision_high=share.high)
        assert (why_unranked(scored) is not None) == failed, hits


def test_a_measured_row_is_ranked():
    assert why_unranked(row()) is None
    assert candidate(row()).latency == Figure(2.0, 1.98, 2.02)


def speeds() -> list:
    """Four rows of one board: the slower, the better."""
    return [
        row(
            f"point-e-nano-text/{name}@cpu",
            latency_s=s,
            latency_low_s=0.95 * s,
            latency_high_s=1.05 * s,
            r_precision=q,
            r_precision_low=q - 0.05,
            r_precision_high=q + 0.05,
            peak_memory_bytes=memory,
        )
        for name, s, q, memory in [
            ("fp32", 20.0, 0.90, 9_000_000_000),
            ("steps-32", 9.8, 0.88, 7_000_000_000),
            ("steps-16", 5.0, 0.86, 7_000_000_000),
            ("steps-4", 1.0, 0.10, 7_000_000_000),
        ]
    ]


def test_the_best_quality_within_limits_uses_the_upper_bound_of_latency():
    found = answer(speeds(), max_latency_s=10, max_memory_bytes=8e9)
    assert found.best.optimization == "steps-16"  # steps-32 is 9.8 s, but its interval goes to 10.29 s
    assert found.tied == ()
    assert found.nearest_miss.row.optimization == "steps-32"
    assert found.nearest_miss.why == "latency up to 10.29 s is 2.9 % over 10 s"
    assert found.nearest_miss.excess == pytest.approx(0.029)
    assert (found.considered, found.fitting) == (4, 2)


def test_rows_that_cannot_be_told_from_the_best_are_named():
    found = answer(speeds(), max_latency_s=11)
    assert [found.best.optimization, *(r.optimization for r in found.tied)] == ["steps-16", "steps-32"]
    assert found.top.optimization == "steps-32"  # its two points more are within noise, its 4.8 s more are not


def test_outcomes_a_prompt_break_ties_that_intervals_leave():
    rows = speeds()
    outcomes = {key(rows[1]): quality(135), key(rows[2]): quality(110)}
    assert answer(rows, max_latency_s=11, qualities=outcomes).tied == ()


def test_without_limits_everything_fits_and_nothing_misses():
    found = answer(speeds())
    assert (found.best.optimization, found.top.optimization) == ("steps-16", "fp32")
    assert found.nearest_miss is None


def test_when_nothing_fits_the_nearest_miss_says_why():
    found = answer(speeds(), max_latency_s=0.5, max_memory_bytes=1e9)
    assert found.best is None
    assert found.fitting == 0
    assert "latency" in found.nearest_miss.why
    assert "peak memory 7 GB is 600.0 % over 1 GB" in found.nearest_miss.why


def test_a_latency_without_upper_bound_does_not_fit():
    single = row(latency_s=0.1, latency_low_s=None, latency_high_s=None)
    found = answer([single], max_latency_s=10)
    assert found.best is None
    assert "no upper bound" in found.nearest_miss.why


def test_unranked_rows_answer_nothing():
    rows = [row(on_frontier=None), row(source="published", on_frontier=None)]
    assert answer(rows) == answer([])
    assert answer(rows).best is None


def test_an_answer_names_no_chance_row_and_no_smoke_run_beside_full_ones():
    """Whatever tables of an older rule say."""
    chance = row(f"{NANO}/steps-2@cpu", latency_s=0.01, latency_high_s=0.01, r_precision=0.01, r_precision_low=0.0)
    smoke = row(f"{NANO}/steps-4@cpu", latency_s=0.02, latency_high_s=0.02, r_precision=1.0, smoke=True, prompts=8)
    full = row(f"{NANO}/fp32@cpu")
    found = answer([chance, smoke, full])
    assert (found.best, found.tied, found.considered) == (full, (), 1)
    found = answer([chance, smoke, full], max_latency_s=1.0)
    assert (found.best, found.nearest_miss.row) == (None, full)
    assert (answer([chance, smoke]).best, answer([chance]).best) == (smoke, None)


def test_rows_of_two_boards_are_not_compared():
    rows = [row(board="one"), row(board="two")]
    assert len(comparable(rows)) == 2
    with pytest.raises(ValueError, match="2 boards"):
        answer(rows)


@pytest.mark.parametrize("other", [{"judge": "b"}, {"gallery_sha256": "2" * 64}])
def test_rows_of_two_judges_or_galleries_are_not_compared(other):
    scored = {"judge": "a", "gallery_sha256": "1" * 64}
    rows = [row(**scored), row(**scored | other), row(r_precision=None)]
    groups = comparable(rows)
    assert list(groups.values()) == [[rows[0]], [rows[1]], [rows[2]]]
    with pytest.raises(ValueError, match="2 boards, prompt sets or judges"):
        answer(rows[:2])
    assert list(comparable([rows[0], rows[0], rows[2]]).values()) == [[rows[0], rows[0], rows[2]]]
