"""A few prompts scored here, the others taken from the committed history."""

from __future__ import annotations

import pytest

from suite.history import COMMITTED, committed_outcomes, read_folder
from suite.judging.borrowing import TOLERANCE, Committed, differing, with_borrowed
from suite.judging.scores import summarize
from suite.records import Borrowed, Quality
from tests.factories import measurement, quality


def committed(whole: Quality) -> Committed:
    return Committed("s1", "laptop", "2026-11-01T00:00:00.000+00:00", "weights", "gallery", whole)


def first(whole: Quality, count: int, **changes) -> Quality:
    """What a run finds that scores the first prompts only; changes: of the first outcome."""
    outcomes = [o.model_copy(update=changes if n == 0 else {}) for n, o in enumerate(whole.outcomes[:count])]
    return summarize(whole.judge, outcomes)


def test_where_the_few_agree_the_others_outcomes_stand_for_them():
    whole = quality(hits=140)
    few = first(whole, 4).model_copy(update={"batch_size": 8})
    both = with_borrowed(few, committed(whole))
    assert both.r_precision == whole.r_precision and both.r_precision_3001 == whole.r_precision_3001
    assert [o.prompt for o in both.outcomes] == [o.prompt for o in whole.outcomes]
    assert both.borrowed == Borrowed(
        session="s1", board="laptop", measured_at="2026-11-01T00:00:00.000+00:00", scored_here=4
    )
    assert (both.batch_size, both.warnings) == (8, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"margin_153": 0.1 + 2 * TOLERANCE},
        {"margin_3001": -0.2 - 2 * TOLERANCE},
        {"margin_3001": None, "rank_3001": None},
        {"prompt": "another"},
    ],
    ids=["margin", "margin of 3,001", "no gallery of 3,001", "a prompt that is not there"],
)
def test_one_that_does_not_agree_takes_nothing_and_says_so(changes):
    whole = quality(hits=140)
    few = first(whole, 4, **changes)
    alone = with_borrowed(few, committed(whole))
    assert (len(alone.outcomes), alone.borrowed) == (4, None)
    assert differing(few, committed(whole)) == [few.outcomes[0].prompt]
    (warning,) = alone.warnings
    assert warning.startswith("1 of 4 prompts scored here came out otherwise in the committed session s1")


def test_rounding_is_no_difference():
    whole = quality(hits=140)
    few = first(whole, 4, margin_153=whole.outcomes[0].margin_153 + TOLERANCE / 2)
    assert with_borrowed(few, committed(whole)).borrowed is not None


def test_outcomes_are_the_newest_full_ones_of_a_recipe_and_its_weights():
    old = measurement(session="old", measured_at="2026-11-01T00:00:00.000+00:00")
    new = measurement(session="new", measured_at="2026-11-02T00:00:00.000+00:00")
    later = "2026-11-03T00:00:00.000+00:00"
    others = [
        measurement(session="smoke", measured_at=later, smoke=True),
        measurement(session="other protocol", measured_at=later, protocol="0"),
        measurement(session="not scored", measured_at=later, hits=None),
        measurement(session="nobody knows on what", measured_at=later, fingerprint=None),
    ]
    found = committed_outcomes([new, *others, old])
    assert {key: c.session for key, c in found.items()} == {("point-e-nano-text/fp32", "embedded"): "new"}


def test_a_row_that_borrowed_is_not_borrowed_from():
    whole = quality(hits=140)
    row = measurement(smoke=True).model_copy(update={"quality": with_borrowed(first(whole, 4), committed(whole))})
    assert committed_outcomes([row]) == {}


def test_every_slow_smoke_cell_finds_outcomes_in_the_committed_history():
    """Each embedded model's reference at least, scored on 153 prompts."""
    found = committed_outcomes(read_folder(COMMITTED).measurements)
    for model in ("point-e-nano-text", "point-e-nano-image", "shap-e-nano-text", "shap-e-nano-image"):
        assert len(found[f"{model}/fp32", "embedded"].quality.outcomes) >= 153
