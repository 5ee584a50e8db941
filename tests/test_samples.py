"""Several objects a prompt, of different start noise: prompts are clusters in every interval."""

from __future__ import annotations

import math
import random

import pytest
import torch

from leaderboards import cells
from leaderboards.rows import measured_rows
from suite.building import build
from suite.configurations import find
from suite.judging.agreement import second_opinion
from suite.judging.intervals import clustered_proportion, proportion
from suite.judging.paired_quality import attribute_differences, change, hit_pairs, p_value
from suite.judging.scores import hit_shares, summarize
from suite.metrics.quality import Judge
from suite.metrics.scoring import measure_quality
from suite.records import PromptOutcome, StartOutcome
from suite.session.recording import Wanted, differences
from tests import warm_server
from tests.factories import measurement

FAST = "point-e-nano-text/distilled-1+copied-points@cpu"


def outcome(number: int, *hits: bool) -> PromptOutcome:
    first, *others = hits
    starts = [StartOutcome(rank_153=0 if hit else 5, rank_3001=0 if hit else 9) for hit in others]
    ranks = {"rank_153": 0 if first else 5, "rank_3001": 0 if first else 9}
    return PromptOutcome(prompt=f"thing {number}", **ranks, margin_153=0.1, margin_3001=0.1, other_starts=starts)


def scored(shares: list[float], starts: int, generator: random.Random):
    """Prompts of these chances of a hit."""
    rows = [outcome(n, *(generator.random() < share for _ in range(starts))) for n, share in enumerate(shares)]
    return summarize("judge", rows)


def test_of_one_start_nothing_changes():
    found = summarize("judge", [outcome(n, n < 130) for n in range(153)])
    assert found.r_precision == proportion(130, 153) and found.starts == 1
    other = summarize("judge", [outcome(n, n < 120) for n in range(153)])
    assert len(hit_pairs(other, found)) == 153 and change(other, found).value == pytest.approx(-10 / 153)


def test_a_share_is_over_all_starts_and_a_prompt_is_one_cluster():
    rows = [outcome(0, True, True, False), outcome(1, False, False, False), outcome(2, True, True, True)]
    found = summarize("judge", rows)
    assert list(hit_shares(rows, 153).values()) == pytest.approx([2 / 3, 0, 1])
    assert found.r_precision.value == pytest.approx(5 / 9) and found.starts == 3
    assert found.r_precision_3001.value == pytest.approx(5 / 9)
    # Starts that always agree bring nothing.
    same = [outcome(n, *[n < 130] * 4) for n in range(153)]
    once = proportion(130, 153)
    assert summarize("judge", same).r_precision.low == pytest.approx(once.low, abs=0.002)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_a_stated_95_percent_holds_however_alike_the_starts_of_a_prompt_are(alike):
    """alike: how far a prompt's own chance lies from 0.7, on the way to always or never."""
    generator, held, widths = random.Random(3), 0, []
    for _ in range(400):
        chances = [0.7 + alike * ((generator.random() < 0.7) - 0.7) for _ in range(60)]
        found = scored(chances, 4, generator).r_precision
        held += found.low <= 0.7 <= found.high
        widths.append(found.high - found.low)
    assert 0.92 <= held / 400 <= 0.985
    one = proportion(42, 60)
    narrower = sum(widths) / 400 / (one.high - one.low)
    assert narrower < 0.6 if alike == 0 else narrower < 1.05


def test_no_scatter_between_prompts_still_has_a_width():
    assert clustered_proportion([1.0] * 20) == proportion(20, 20)
    assert clustered_proportion([0.5] * 20) == proportion(10, 20)


def test_the_difference_to_the_reference_takes_all_starts():
    generator = random.Random(5)
    chances = [generator.random() for _ in range(153)]
    reference = scored(chances, 8, generator)
    worse = scored([0.8 * chance for chance in chances], 8, generator)
    moved, p = change(worse, reference), p_value(worse, reference)
    assert moved.high < 0 and -0.2 < moved.value < 0 and p < 1e-3
    assert moved.high - moved.low < 0.8 * _width_of_first_starts(worse, reference)
    same = [(scored(chances, 8, generator), scored(chances, 8, generator)) for _ in range(100)]
    assert sum(p_value(*pair) < 0.05 for pair in same) <= 11  # 5 are due to chance
    assert sum(not change(*pair).low < 0 < change(*pair).high for pair in same) <= 11


def _width_of_first_starts(a, b) -> float:
    first = [summarize("judge", [o.model_copy(update={"other_starts": []}) for o in q.outcomes]) for q in (a, b)]
    found = change(*first)
    return found.high - found.low


def test_real_objects_of_several_starts_differ_and_the_first_start_is_as_alone():
    pipeline, judge = build(find(FAST), "embedded", torch.device("cpu")), Judge()
    alone, _ = measure_quality(pipeline, judge, 6, batch_size=1)
    three, _ = measure_quality(pipeline, judge, 6, batch_size=1, samples=3)
    assert [len(o.other_starts) for o in three.outcomes] == [2] * 6
    assert [o.model_copy(update={"other_starts": []}) for o in three.outcomes] == alone.outcomes
    assert three.diversity.value == pytest.approx(alone.diversity.value)
    known = hit_shares(three.outcomes, 153)
    assert three.r_precision.value == pytest.approx(math.fsum(known.values()) / 6)
    without, _ = measure_quality(pipeline, judge, 6, batch_size=1, samples=2, diversity=False)
    assert without.diversity is None and without.starts == 2


def test_a_row_and_a_resumed_journal_say_how_many_starts():
    twice = summarize("judge", [outcome(n, True, False) for n in range(153)])
    many = measurement().model_copy(update={"quality": twice})
    (row,) = measured_rows([many])
    assert row.starts == 2 and "2 starts a prompt" in cells.notes(row)
    assert measurement().quality.starts == 1
    assert differences(many, Wanted("embedded", 153, samples=2)) == []
    assert "journal has 2 starts a prompt, this session asks for 1" in differences(many, Wanted("embedded", 153))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--samples", "0"], "0 is not possible; 1 to 16"),
        (["--samples", "17"], "17 is not possible; 1 to 16"),
        (["--samples", "2", "--quality-prompts", "auto"], "takes one object a prompt"),
        (["--samples", "2", "--outcomes", "committed"], "committed outcomes are of one object a prompt"),
    ],
)
def test_what_does_not_go_together_is_refused(options, said):
    done = warm_server.session("--collect-only", "-q", *options)
    assert done.returncode == 4 and said in done.stdout


def test_attributes_by_two_judges_are_not_held_against_each_other():
    rows = [
        outcome(n, True).model_copy(update={"attribute_margins": {"size": 0.1}, "second_rank_153": 0}) for n in range(9)
    ]
    by = {
        name: summarize("judge", rows).model_copy(update={"second_opinion": second_opinion(name, rows)})
        for name in "ab"
    }
    assert attribute_differences(by["a"], by["a"]) and attribute_differences(by["a"], by["b"]) == {}
