"""The dashboard without its pages: rows told apart, the frontier's figure, tables, sentences, links, runs."""

from __future__ import annotations

import json
import shutil
from math import log10
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard import answers, data, figures, links, runs, tables
from leaderboards import cells
from leaderboards.choice import answer
from leaderboards.frontier import key
from leaderboards.rows import MalformedRows, literature_rows, measured_rows
from suite.records import Status
from tests.dashboard_cases import NANO, ROOT, matrix, publish_runs
from tests.factories import measurement, row, session_file


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return publish_runs(tmp_path_factory.mktemp("published"), matrix())


@pytest.fixture
def altered(published, tmp_path) -> Path:
    """A copy, for tests that write."""
    return shutil.copytree(published, tmp_path / "published")


@pytest.fixture
def shown(published) -> list:
    """The first board's rows."""
    (group,) = data.comparisons(data.load(published), "cpu", "laptop").values()
    return group


def by_name(figure) -> dict:
    return {(trace.name, trace.xaxis or "x"): trace for trace in figure.data}


# Rows: what belongs together


def test_boards_devices_and_published_figures_are_told_apart(published):
    rows = data.load(published)
    assert data.first_device(rows) == "cpu"
    assert data.devices(rows) == ["cpu", "t4", "orin", "h100", "v100"]
    assert data.boards(rows, "cpu") == ["laptop", "old-laptop"]
    assert data.boards(rows, "orin") == []
    assert {row.board for group in data.comparisons(rows, "cpu", "laptop").values() for row in group} == {"laptop"}
    assert {row.source for row in data.literature(rows, "cpu")} == {"published"}


def test_the_board_with_the_most_ranked_rows_comes_first_and_of_several_the_newest():
    times = {board: f"2026-11-0{n}T04:00:00+00:00" for n, board in enumerate(("large", "old", "new", "trial"), 1)}
    rows = [row(board=board, measured_at=times[board]) for board in times if board != "trial"]
    rows += [row(f"{NANO}/bf16@cpu", board="large", measured_at=times["large"])]
    rows += [row(f"{NANO}/{name}@cpu", board="trial", measured_at=times["trial"], on_frontier=None) for name in "abc"]
    assert data.boards(rows, "cpu") == ["large", "new", "old", "trial"]
    orin = [row(f"{NANO}/{name}@orin", board="module") for name in "abc"]
    assert data.first_device(rows) == "cpu" and data.first_device([*rows, *orin]) == "orin"


def test_prompt_sets_are_never_compared():
    rows = [row(), row("another-model/fp32@cpu")]
    assert len(data.comparisons(rows, "cpu", "laptop")) == 2


def test_the_literature_is_there_once(published, tmp_path):
    assert len(data.literature(data.load(published))) == len(literature_rows())
    assert len(data.literature(data.load(tmp_path))) == len(literature_rows())


def test_the_hash_names_the_data_not_its_order():
    rows = [row(), row(f"{NANO}/bf16@cpu")]
    assert data.digest(rows) == data.digest(rows[::-1])
    assert data.digest(rows) != data.digest([rows[0], rows[1].model_copy(update={"r_precision": 0.8501})])


def test_a_field_that_is_not_known_is_ignored_and_a_newer_table_is_named(altered):
    path = altered / "cpu.json"
    rows = json.loads(path.read_text())
    before = data.load(altered)
    path.write_text(json.dumps([row | {"invented_later": [1]} for row in rows]))
    assert data.load(altered) == before and data.load(altered).newer == []
    path.write_text(json.dumps([row | {"schema_version": 2} for row in rows]))
    assert data.load(altered).newer == ["cpu.json"]


def test_an_end_that_this_version_has_no_word_for_costs_that_row_alone_and_is_told(altered):
    path = altered / "cpu.json"
    rows = json.loads(path.read_text())
    before = data.load(altered)
    later = rows[0] | {"status": "melted"}
    path.write_text(json.dumps([later, *rows]))
    assert data.load(altered) == before and data.load(altered).newer == ["cpu.json"]
    path.write_text(json.dumps([row | {"verdicts": row["verdicts"] | {"latency": "astonishing"}} for row in rows]))
    assert data.load(altered) == before and data.load(altered).newer == []


@pytest.mark.parametrize("name", ["`![x](http://elsewhere/x.png)`", "a|b", "<img>", "a\nb"])
def test_a_name_with_markup_is_no_row(altered, name):
    path = altered / "cpu.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([rows[0] | {"configuration": name}]))
    with pytest.raises(MalformedRows, match="configuration"):
        data.load(altered)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0163, "16.3 ms (15.8 to 16.9)"), (0.00163, "1.63 ms (1.58 to 1.69)"), (1.63, "1.63 s (1.58 to 1.69)")],
)
def test_short_times_are_told_in_milliseconds(seconds, said):
    made = row(latency_s=seconds, latency_low_s=seconds * 0.97, latency_high_s=seconds * 1.034)
    assert cells.latency(made) == said


def test_another_folder_by_environment(monkeypatch, tmp_path):
    monkeypatch.delenv(data.VARIABLE, raising=False)
    assert data.published_folder() == ROOT / "leaderboards" / "published"
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    assert data.published_folder() == tmp_path


# The figure


def test_the_frontier_stands_out_and_the_rest_is_dimmed(shown):
    traces = by_name(figures.frontier_figure(shown))
    frontier, dominated = traces["on the frontier", "x"], traces["dominated", "x"]
    assert dict(zip((c[0] for c in frontier.customdata), frontier.x)) == {
        f"{NANO}/fp32@cpu, embedded weights": pytest.approx(2.0),
        f"{NANO}/steps-16@cpu, embedded weights": pytest.approx(0.5),
    }
    assert sorted(frontier.y) == pytest.approx([100 * 126 / 153, 100 * 130 / 153])  # percent
    assert [c[0] for c in dominated.customdata] == [f"{NANO}/bf16@cpu, embedded weights"]
    assert dominated.marker.opacity < frontier.marker.opacity
    steps = traces["best quality within a latency", "x"]
    assert steps.line.shape == "hv" and steps.mode == "lines"


def test_the_steps_rise_with_latency_and_pass_below_no_point():
    rows = [
        row(f"{NANO}/{name}@cpu", latency_s=latency, r_precision=quality)
        for name, latency, quality in (
            ("fp32", 2.0, 0.8),
            ("bf16", 1.0, 0.5),
            ("steps-8", 0.5, 0.6),
            ("steps-4", 4.0, 0.7),
        )
    ]
    assert figures.staircase(rows) == [(0.5, 0.6), (2.0, 0.8)]
    steps = by_name(figures.frontier_figure(rows))["best quality within a latency", "x"]
    assert list(steps.x) == [0.5, 2.0, 4.0] and list(steps.y) == pytest.approx([60, 80, 80])


def test_whiskers_are_the_interval_and_missing_ends_are_not_zero():
    whole, open_ended = row(), row(f"{NANO}/bf16@cpu", latency_low_s=None, latency_high_s=None)
    (trace,) = (t for t in figures.frontier_figure([whole, open_ended]).data if t.name == "on the frontier")
    assert trace.error_y.array[0] == pytest.approx(5) and trace.error_y.arrayminus[0] == pytest.approx(6)
    assert trace.error_x.array[0] == pytest.approx(0.02)
    assert trace.error_x.array[1] is None and trace.error_x.arrayminus[1] is None


def test_marker_area_is_memory():
    large, small, unknown = figures.marker_diameters([400, 100, None])
    assert (large / small) ** 2 == pytest.approx(4)
    assert unknown == figures.SMALLEST
    assert figures.marker_diameters([None, None]) == [figures.SMALLEST] * 2


def test_the_fastest_points_label_is_at_its_right_where_the_figure_goes_on(shown):
    timed = sorted((row for row in shown if row.latency_s), key=lambda row: row.latency_s)
    placed = figures.label_positions(timed[::-1])
    assert len(timed) > 1 and placed[figures.identity(timed[0])] == "bottom right"


def test_rows_that_are_not_ranked_are_hollow_or_hidden_by_choice(shown):
    marked = by_name(figures.frontier_figure(shown))
    strip = marked["not ranked", "x2"]
    assert strip.marker.symbol == "circle-open"
    assert strip.customdata[0][0].startswith(f"{NANO}/w3@cpu") and list(strip.x) == ["no latency"]  # simulated
    hidden = by_name(figures.frontier_figure(shown, show_unranked=False))
    assert set(marked) - set(hidden) == {("not ranked", "x2")}
    assert "Hidden by choice" in tables.legend(shown, False) and "Hidden" not in tables.legend(shown, True)
    assert f"{NANO}/steps-8 (crashed)" in tables.legend(shown, True)


def test_axes_say_which_way_is_better_and_latency_is_logarithmic(shown):
    layout = figures.frontier_figure(shown).layout
    assert layout.xaxis.type == "log" and layout.xaxis.title.text.endswith("lower is better")
    assert layout.yaxis.type is None and layout.yaxis.title.text.endswith("higher is better")


def test_the_limit_is_drawn_within_the_axis(shown):
    layout = figures.frontier_figure(shown, max_latency_s=20.0).layout
    assert layout.shapes[0].x0 == 20.0 and layout.annotations[0].x == pytest.approx(log10(20))
    low, high = layout.xaxis.range
    assert low < log10(0.5) and log10(20) < high


def test_the_chosen_point_has_a_ring_wherever_it_stands(shown):
    for optimization, latency in (("bf16", 3.0), ("w3", "no latency")):
        figure = figures.frontier_figure(shown, chosen=f"{NANO}/{optimization}@cpu, embedded weights")
        ring = figure.data[-1]
        assert list(ring.x) == [pytest.approx(latency) if latency == 3.0 else latency] and ring.customdata is None
    assert len(figures.frontier_figure(shown, chosen="gone").data) == len(figures.frontier_figure(shown).data)


def test_several_models_have_colours_and_names():
    figure = figures.frontier_figure([row(), row("point-e-40m-text/fp32@cpu", latency_s=50.0)])
    (trace,) = (t for t in figure.data if t.name == "on the frontier")
    assert len(set(trace.marker.color)) == 2
    assert [text.strip() for text in trace.text] == [f"{NANO}/fp32", "point-e-40m-text/fp32"]
    assert {"point-e-40m-text", NANO} <= {t.name for t in figure.data}


def test_nothing_ranked_still_draws():
    failed = row(status=Status.OUT_OF_MEMORY, latency_s=None, r_precision=None, on_frontier=None)
    assert figures.frontier_figure([failed]).data == ()


# Tables, sentences, links


def test_the_table_has_every_row_with_status_reason_and_command(shown):
    table = tables.measured_table(shown).set_index("configuration")
    assert len(table) == 5
    crashed = table.loc[f"{NANO}/steps-8@cpu"]
    assert crashed["status"] == "crashed" and crashed["remarks"] == "segmentation fault"
    assert crashed[["latency, s", "memory, MB", "R-Precision, %"]].isna().all()
    reference = table.loc[f"{NANO}/fp32@cpu"]
    assert reference["place"] == "frontier"
    assert reference["R-Precision, %"] == pytest.approx(100 * 130 / 153)
    assert reference["budgets"] == "uncertain: r_precision; pass: 1"
    assert reference["repeat with"] == f'pytest "suite/test_configurations.py::test_configuration[{NANO}/fp32@cpu]"'
    assert reference["measured at, UTC"] == "2026-11-23 04:00" and reference["commit"] == "01234567"
    assert table.loc[f"{NANO}/w3@cpu"]["remarks"].startswith("simulated")
    shown_as = {*table.columns, *tables.literature_table(literature_rows()).columns}
    assert set(tables.FORMATS) == shown_as & set(tables.FORMATS) | set(tables.OPTIONAL)


def test_what_failed_quality_and_a_smoke_run_beside_full_ones_say_so_in_table_and_figure():
    made = [
        measurement(),
        measurement(f"{NANO}/steps-4@cpu", seconds=0.1, hits=0),
        measurement(f"{NANO}/steps-8@cpu", seconds=0.2, hits=8, prompts=8, smoke=True),
    ]
    rows = measured_rows(made)
    table = tables.measured_table(rows).set_index("configuration")
    hollow = by_name(figures.frontier_figure(rows))["not ranked", "x"]
    for name, reason in (("steps-4", "failed quality: no better than chance"), ("steps-8", "too few prompts")):
        found = table.loc[f"{NANO}/{name}@cpu"]
        assert found["place"] == "not ranked" and reason in found["remarks"]
        (row,) = (row for row in rows if row.optimization == name)
        assert reason in dict(tables.facts(row))["remarks"]
        assert any(reason in text and name in text for text in hollow.hovertext)
    assert table.loc[f"{NANO}/fp32@cpu"]["place"] == "frontier"


def test_optional_columns_are_shown_only_where_they_are_known(shown):
    assert {*tables.OPTIONAL} & {*tables.measured_table(shown)} == {
        "R-Precision of 3,001, %",
        "tie band",
        "P(frontier), %",
    }
    places = {"tie_band": 1, "frontier_probability": 0.5, "rank": 1, "rank_low": 1, "rank_high": 2}
    known = row(diversity=0.0123, floor_s=0.5, r_precision_3001=0.7, speedup_vs_original=2.5, **places)
    table = tables.measured_table([known, row(f"{NANO}/bf16@cpu")]).set_index("configuration")
    assert table.loc[known.configuration, "diversity"] == 0.0123
    assert table.loc[known.configuration, "over the floor"] == 4.0
    assert table.loc[known.configuration, "R-Precision of 3,001, %"] == 70.0
    assert table.loc[known.configuration, "to the original"] == 2.5
    assert table.loc[known.configuration, "P(frontier), %"] == 50.0
    assert table.loc[known.configuration, "rank"] == "1 (1 to 2)"
    assert table.loc[f"{NANO}/bf16@cpu", list(tables.OPTIONAL)].isna().all()
    facts = dict(tables.facts(known))
    assert facts["Chamfer between two of a prompt"] == "0.0123" and facts["… over the roofline floor"] == "×4.00"
    assert "Chamfer between two of a prompt" not in dict(tables.facts(row()))


def test_published_figures_have_their_source():
    table = tables.literature_table(data.literature(literature_rows(), "t4"))
    assert len(table) and table["source"].str.contains("EMS'23").any() and not table["source"].eq("–").any()


def test_the_summary_counts_every_status_and_names_the_code(shown):
    assert tables.summary(shown) == "5 rows: 4 ok, 1 crashed."
    assert tables.provenance(shown) == "Measured 2026-11-23 04:00 UTC; commit 01234567; protocol 1."


def test_details_tell_only_what_is_known(shown):
    crashed = dict(tables.facts(next(r for r in shown if r.status == Status.CRASHED)))
    assert crashed["status"] == "crashed" and crashed["remarks"] == "segmentation fault"
    assert not {"latency", "peak memory", "R-Precision of 153"} & set(crashed)


def test_pictures_lie_below_the_repository(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    (root / "outputs").mkdir(parents=True)
    for path in (root / "outputs" / "sheet.png", root / "outputs" / "cloud.ply", tmp_path / "secret.png"):
        path.touch()
    monkeypatch.setattr(tables, "ROOT", root)
    paths = {"contact sheet": "outputs/sheet.png", "cloud": "outputs/cloud.ply", "gone": "outputs/gone.png"}
    artefacts = paths | {"outside": "../secret.png", "absolute": str(tmp_path / "secret.png")}
    assert tables.pictures(row(artefacts=artefacts)) == {"contact sheet": root / "outputs" / "sheet.png"}


def test_the_verdict_line():
    rows = [
        row(),
        row(f"{NANO}/steps-16@cpu", latency_s=0.5, latency_low_s=0.49, latency_high_s=0.51, r_precision=0.84),
        row(
            f"{NANO}/steps-4@cpu",
            latency_s=0.1,
            latency_low_s=0.09,
            latency_high_s=0.11,
            r_precision=0.1,
            r_precision_low=0.05,
            r_precision_high=0.15,
        ),
    ]

    def said(seconds=None, size=None) -> str:
        return answers.sentences(answer(rows, seconds, size), seconds, size).replace(answers.HARD_SPACE, " ")

    assert said().startswith(
        f"**Without limits: best is `{NANO}/steps-16@cpu`**, R-Precision 84.0 % (79.0 to 90.0), 0.500 s, 60.0 MB. "
        "The fastest of 2 whose quality cannot be told from the highest; tied"
    )
    assert "tied with it within noise: `fp32` (85.0 %, 2.00 s, 60.0 MB)." in said() and "steps-4" not in said()
    assert f"**Within 1 s and 0.1 GB: best is `{NANO}/steps-16@cpu`**" in said(1.0, 1e8)
    assert "Nearest miss: `fp32`, 85.0 %: latency up to 2.02 s is" in said(1.0, 1e8)
    assert said(0.01).startswith("**Within 0.01 s: nothing fits** of 3 ranked configurations. Nearest miss: ")
    assert "No configuration is ranked" in answers.sentences(answer([]), None, None)


def test_a_pinned_link_has_every_value():
    link = links.pinned("http://host:1/?x=1", {"device": "cpu", "seconds": None, "row": f"{NANO}/fp32@cpu, a b"}, "abc")
    assert link.startswith("http://host:1/?")
    query = parse_qs(urlsplit(link).query, keep_blank_values=True)
    assert query == {"device": ["cpu"], "seconds": [""], "row": [f"{NANO}/fp32@cpu, a b"], "data": ["abc"]}
    assert links.other_data("abc", "abc") is None and links.other_data(None, "abc") is None
    assert "abd" in links.other_data("abd", "abc")


# The runs behind the rows


def test_runs_are_found_by_row_and_only_looked_at(tmp_path):
    first, second = matrix()[:2]
    session_file(tmp_path / "laptop" / "0001_first.json", [first, second])
    older = measurement(seconds=7.0, measured_at="2026-11-22T04:00:00Z")
    session_file(tmp_path / "laptop" / "0000_old.json", [older])
    broken = tmp_path / "laptop" / "0002_broken.json"
    broken.write_text(f'{{"cells": [ {first.measured_at}')
    wanted = [row(measured_at=first.measured_at), row(f"{NANO}/bf16@cpu", measured_at="2026-11-20T00:00:00Z"), row()]
    found = runs.measurements_of(wanted, [tmp_path, tmp_path / "absent"])
    assert found == {key(first): first}
    assert runs.qualities(found) == {key(first): first.quality}
    assert broken.exists()


def test_a_journalled_measurement_is_found(tmp_path):
    run = measurement()
    (tmp_path / "cell.json").write_text(run.model_dump_json())
    assert runs.measurements_of([row(measured_at=run.measured_at)], [tmp_path]) == {key(run): run}


def test_stages_add_up_to_the_whole():
    figure = figures.stages_figure({"text encoder": 0.5, "base diffusion": 1.5})
    assert list(figure.data[0].text) == ["0.500 s, 25.0 %", "1.50 s, 75.0 %"]
