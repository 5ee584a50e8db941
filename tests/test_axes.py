"""Quality may mean several things; the page opens on the one that tells the rows apart."""

from __future__ import annotations

import pytest

from dashboard import answers
from dashboard.figures import QUALITIES, frontier_figure, hover
from dashboard.tables import measured_table
from leaderboards import cells
from leaderboards.__main__ import main
from leaderboards.axes import TITLES, bands, ranked_on, separating
from leaderboards.choice import Limits, answer
from leaderboards.frontier import AXES
from leaderboards.rows import measured_rows, qualities
from leaderboards.terminal import show_frontier
from suite.judging.scores import summarize
from suite.records import Measurement, Quality
from tests.factories import measurement, quality, session_file

NANO = "point-e-nano-text"


def scored(hits_153: int, hits_3001: int, f_score: float | None = None, prompts: int = 153) -> Quality:
    outcomes = [
        o.model_copy(
            update={
                "rank_3001": 0 if n < hits_3001 else 5,
                "f_score_to_fp32": None if f_score is None or n >= 8 else f_score + 0.001 * (n % 2),
            }
        )
        for n, o in enumerate(quality(hits_153, prompts).outcomes)
    ]
    return summarize("clip-nano-judge", outcomes)


def cell(recipe: str, seconds: float, found: Quality) -> Measurement:
    made = measurement(f"{NANO}/{recipe}@cpu", seconds=seconds, reference_s=2.0)
    return made.model_copy(update={"quality": found})


def matrix(f_scores: tuple[float | None, ...] = (None, None, None)) -> list[Measurement]:
    """As well recognized among 153; among 3,001 the fastest is far worse."""
    return [
        cell("fp32", 2.0, scored(150, 120, f_scores[0])),
        cell("steps-32", 1.0, scored(150, 118, f_scores[1])),
        cell("steps-16", 0.5, scored(150, 60, f_scores[2])),
    ]


def test_every_axis_has_a_title_an_axis_and_a_field():
    assert list(TITLES) == list(AXES) == list(QUALITIES)
    (row, *_) = measured_rows(matrix())
    assert all(hasattr(row, f"{axis}{end}") for axis in AXES for end in ("", "_low", "_high"))


def test_the_axis_that_separates_is_the_one_with_most_bands():
    made = matrix()
    rows, found = measured_rows(made), qualities(made)
    assert [bands(axis, rows, found) for axis in AXES] == [1, 2, 0]  # none has an F-score
    assert separating(rows, found) == "r_precision_3001"
    alike = made[:2]
    assert separating(measured_rows(alike), qualities(alike)) == "r_precision"  # as many: the first


def test_what_lies_farther_from_fp32_shows_where_all_are_recognized():
    made = matrix((0.998, 0.80, 0.60))
    rows, found = measured_rows(made), qualities(made)
    assert bands("f_score_to_fp32", rows, found) == 3
    assert separating(rows, found) == "f_score_to_fp32"


def test_one_row_without_a_figure_is_not_ranked_and_the_axis_is_not_opened_on():
    made = matrix((0.998, None, 0.60))
    rows, found = measured_rows(made), qualities(made)
    assert bands("f_score_to_fp32", rows, found) == 0
    marks = {row.optimization: row.on_frontier for row in ranked_on("f_score_to_fp32", rows, found)}
    assert marks == {"fp32": True, "steps-32": None, "steps-16": True}


def test_what_has_no_figure_on_an_axis_is_said_to_lack_it(capsys):
    rows = measured_rows(matrix((0.998, None, 0.60)))
    show_frontier("cpu", rows, qualities=qualities(matrix((0.998, None, 0.60))), axis="f_score_to_fp32")
    assert f"1 not ranked, no f_score_to_fp32: {NANO}/steps-32" in capsys.readouterr().out
    shown = ranked_on("f_score_to_fp32", rows, {})
    told = measured_table(shown, axis="f_score_to_fp32").set_index("configuration")["remarks"]
    assert told[f"{NANO}/steps-32@cpu"] == "not ranked: no f_score_to_fp32"


def test_the_frontier_is_another_on_another_axis():
    made = matrix()
    rows, found = measured_rows(made), qualities(made)
    assert [row.optimization for row in rows if row.on_frontier] == ["steps-16"]
    again = ranked_on("r_precision_3001", rows, found)
    assert "fp32" in [row.optimization for row in again if row.on_frontier]


def test_what_is_chance_in_the_gallery_is_chance_on_every_axis():
    made = [*matrix((0.998, 0.80, 0.60)), cell("steps-4", 0.1, scored(0, 0, 0.9))]
    rows, found = measured_rows(made), qualities(made)
    for axis in AXES:
        marks = {row.optimization: row.on_frontier for row in ranked_on(axis, rows, found)}
        assert marks["steps-4"] is None


@pytest.mark.parametrize("axis", AXES)
def test_the_figure_stands_on_the_axis_asked_for(axis):
    made = matrix((0.998, 0.80, 0.60))
    rows = ranked_on(axis, measured_rows(made), qualities(made))
    figure = frontier_figure(rows, quality=axis)
    assert TITLES[axis] in figure.layout.yaxis.title.text and "higher is better" in figure.layout.yaxis.title.text
    drawn = {data[0]: y for t in figure.data if t.customdata is not None for data, y in zip(t.customdata, t.y)}
    expected = {f"{row.configuration}, {row.weights} weights": 100 * getattr(row, axis) for row in rows}
    assert drawn == pytest.approx(expected)


@pytest.mark.parametrize("axis", TITLES)
def test_the_verdict_and_a_points_words_have_the_figure_of_the_axis(axis):
    made = matrix((0.998, 0.80, 0.60))
    rows = ranked_on(axis, measured_rows(made), qualities(made))
    shown = {"r_precision": "R-Precision ", "r_precision_3001": "R-Precision among 3,001 "}.get(
        axis, "F-score to fp32 "
    )
    figure = cells.quality_on(rows[0], axis)
    assert f"{shown}{figure}" in hover(rows[0], axis)
    found = answer(rows, limits=Limits(axis=axis))
    assert f"{shown}{cells.quality_on(found.best, axis)}" in answers.sentences(found, None, None, axis=axis)


def test_the_command_takes_the_axis_and_names_the_others(tmp_path, capsys):
    session_file(tmp_path / "laptop" / "0001.json", matrix((0.998, 0.80, 0.60)))
    assert main(["frontier", "--history", str(tmp_path), "--quality", "f_score_to_fp32"]) == 0
    said = capsys.readouterr().out
    assert "F-score to fp32's object" in said and "99.8 %" in said and "hypervolume" not in said
    with pytest.raises(SystemExit) as wrong:
        main(["frontier", "--history", str(tmp_path), "--quality", "f_score"])
    assert wrong.value.code == 2 and "f_score_to_fp32" in capsys.readouterr().err
