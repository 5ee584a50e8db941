"""What breaks first, as bars: shares, intervals, and the gain in pairs."""

from __future__ import annotations

import pytest

from dashboard.attributes import BLUE, ORANGE, attributes_figure
from suite.judging.paired_quality import attribute_differences
from suite.judging.scores import summarize
from suite.records import PromptOutcome, Quality


def scored(lost: dict[str, int], prompts: int = 40) -> Quality:
    """Of the first so many prompts an attribute is lost, one after the other."""
    losses = [name for name, count in lost.items() for _ in range(count)]
    outcomes = []
    for n in range(prompts):
        margins = {"colour": 0.1, "shape": 0.1, "size": 0.1}
        if n < len(losses):
            margins[losses[n]] = -0.1
        outcomes.append(PromptOutcome(prompt=f"prompt {n}", rank_153=0, margin_153=0.1, attribute_margins=margins))
    return summarize("judge", outcomes)


def test_the_bars_are_the_shares_and_the_words_the_gain():
    a, b = scored({"shape": 4}), scored({"shape": 20})
    figure = attributes_figure(a, b, ("fp32", "steps-8"))
    first, second = figure.data
    assert (first.name, second.name) == ("fp32", "steps-8")
    assert list(first.x) == ["colour", "shape", "size"] and list(second.y) == [100.0, 50.0, 100.0]
    assert second.y[1] - second.error_y.arrayminus[1] == pytest.approx(100 * b.attributes["shape"].low)
    assert {first.marker.color, second.marker.color} == {BLUE, ORANGE}
    assert first.marker.pattern.shape != second.marker.pattern.shape  # told apart without colours too
    gain = attribute_differences(b, a)["shape"]
    assert gain.value == -0.4 and gain.high < 0
    assert [note.text.split(" ")[0] for note in figure.layout.annotations] == ["+0.0", "−40.0", "+0.0"]


def test_only_prompts_of_both_are_paired():
    a, b = scored({"shape": 4}, prompts=10), scored({}, prompts=40)
    assert attribute_differences(b, a)["shape"].value == 0.4
    assert attribute_differences(b, summarize("judge", [PromptOutcome(prompt="x", rank_153=0, margin_153=0.1)])) == {}


def test_records_of_before_have_no_bars():
    old = summarize("judge", [PromptOutcome(prompt="x", rank_153=0, margin_153=0.1)])
    assert all(len(trace.x) == 0 for trace in attributes_figure(old, scored({})).data)
