"""The dashboard: its figures and tables, its page, and the page in a real browser, on tables published from runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import log10
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import answers, data, figures, links, runs, screenshot, tables
from leaderboards.frontier import answer, key
from leaderboards.publish import publish, read_board
from leaderboards.rows import literature_rows
from suite import history
from suite.records import Status, Verdict
from tests.factories import measurement, row, session_file

ROOT = Path(__file__).parents[1]
APP = ROOT / "dashboard" / "app.py"
NANO = "point-e-nano-text"
PATIENCE_S = 120  # of the page's script, on a machine that measures something else meanwhile


def matrix() -> list:
    """Two boards of `cpu`; on the first, two on the frontier, one beaten, one simulated, one crashed."""
    return [
        measurement(reference_s=2.0, verdicts={"latency_ratio": Verdict.PASS, "r_precision": Verdict.UNCERTAIN}),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=126, reference_s=2.0),
        measurement(f"{NANO}/bf16@cpu", seconds=3.0, hits=125, reference_s=2.0),
        measurement(f"{NANO}/w3@cpu", hits=70),
        measurement(f"{NANO}/steps-8@cpu", status=Status.CRASHED, reason="segmentation fault"),
        measurement(f"{NANO}/fp32@cpu", seconds=9.0, board="old-laptop", measured_at="2026-11-01T04:00:00Z"),
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    history = folder / "history"
    session_file(history / "laptop" / "0001_first.json", matrix())
    publish(read_board([history]), folder / "tables")
    return folder / "tables"


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
    assert data.boards(rows, "cpu") == ["laptop", "old-laptop"]  # the newest first
    assert data.boards(rows, "orin") == []
    assert {row.board for group in data.comparisons(rows, "cpu", "laptop").values() for row in group} == {"laptop"}
    assert {row.source for row in data.literature(rows, "cpu")} == {"published"}


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
    assert set(tables.FORMATS) <= {*table.columns, *tables.literature_table(literature_rows()).columns}


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
        row(f"{NANO}/steps-4@cpu", latency_s=0.1, latency_low_s=0.09, latency_high_s=0.11,
            r_precision=0.1, r_precision_low=0.05, r_precision_high=0.15),
    ]  # fmt: skip

    def said(seconds=None, size=None) -> str:
        return answers.sentences(answer(rows, seconds, size), seconds, size).replace(answers.HARD_SPACE, " ")

    assert said().startswith(
        f"**Without limits: best quality is `{NANO}/fp32@cpu`**, R-Precision 85.0 % (79.0 to 90.0)"
    )
    assert "Tied with it within noise: `steps-16` (84.0 %, 0.500 s, 60.0 MB)." in said() and "steps-4" not in said()
    assert f"**Within 1 s and 0.1 GB: best quality is `{NANO}/steps-16@cpu`**" in said(1.0, 1e8)
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
    assert runs.stage_medians(found[key(first)]) == {"base diffusion": pytest.approx(2.0)}
    assert runs.qualities(found) == {key(first): first.quality}
    assert broken.exists()


def test_a_journalled_measurement_is_found(tmp_path):
    run = measurement()
    (tmp_path / "cell.json").write_text(run.model_dump_json())
    assert runs.measurements_of([row(measured_at=run.measured_at)], [tmp_path]) == {key(run): run}


def test_stages_add_up_to_the_whole():
    figure = figures.stages_figure({"text encoder": 0.5, "base diffusion": 1.5})
    assert list(figure.data[0].text) == ["0.500 s, 25.0 %", "1.50 s, 75.0 %"]


# The page, without a browser


@pytest.fixture
def open_page(monkeypatch):
    def opened(folder: Path, **query: str) -> AppTest:
        monkeypatch.setenv(data.VARIABLE, str(folder))
        page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
        for name, value in query.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    return opened


def spec(page: AppTest) -> dict:
    return json.loads(page.get("plotly_chart")[0].proto.spec)


def prose(page: AppTest) -> str:
    elements = [*page.markdown, *page.caption, *page.info, *page.warning, *page.error, *page.code]
    return "\n".join(element.value for element in elements).replace(answers.HARD_SPACE, " ")


def test_the_page_opens_on_the_frontier_and_the_table(open_page, published):
    page = open_page(published)
    assert "Without limits: best quality is" in prose(page)
    traces = {trace.get("name"): trace for trace in spec(page)["data"]}
    assert len(traces["on the frontier"]["customdata"]) == 2
    everything = json.dumps(spec(page))
    assert "old-laptop" not in everything and "40m" not in everything  # neither other boards nor published figures
    measured, literature = page.dataframe
    assert len(measured.value) == 5
    assert set(literature.value["configuration"]) == {
        row.configuration for row in data.literature(literature_rows(), "cpu")
    }


def test_limits_change_the_answer_and_the_figure(open_page, published):
    page = open_page(published)
    page.number_input(key="seconds").set_value(1.0).run()
    assert f"Within 1 s: best quality is `{NANO}/steps-16@cpu`" in prose(page)
    assert "Nearest miss: `fp32`" in prose(page)
    assert spec(page)["layout"]["shapes"][0]["x0"] == 1.0
    page.number_input(key="gigabytes").set_value(0.001).run()
    assert "nothing fits" in prose(page)


def test_the_boards_are_apart(open_page, published):
    page = open_page(published)
    page.selectbox(key="board").set_value("old-laptop").run()
    assert len(page.dataframe[0].value) == 1
    page.selectbox(key="device").set_value("t4").run()
    assert not page.exception and not page.get("plotly_chart")
    page.selectbox(key="device").set_value("cpu").run()
    page.selectbox(key="board").set_value("laptop").run()
    assert not page.exception and len(page.dataframe[0].value) == 5


def test_details_with_the_command(open_page, published):
    page = open_page(published)
    page.selectbox(key="row").set_value(f"{NANO}/steps-8@cpu, embedded weights").run()
    assert "segmentation fault" in prose(page)
    assert f'pytest "suite/test_configurations.py::test_configuration[{NANO}/steps-8@cpu]"' in prose(page)


def test_the_run_behind_a_row_gives_stages_picture_and_ties_prompt_by_prompt(open_page, tmp_path, monkeypatch):
    # 12 prompts lost and none won: exact McNemar tells them apart, though the intervals overlap.
    steps = f"{NANO}/steps-16@cpu"
    pair = [measurement(artefacts={"contact sheet": "sheet.png"}), measurement(steps, seconds=0.5, hits=118)]
    session_file(tmp_path / "history" / "laptop" / "0001_first.json", pair)
    publish(read_board([tmp_path / "history"]), tmp_path / "tables")
    Image.new("RGB", (8, 8)).save(tmp_path / "sheet.png")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    chosen = f"{NANO}/fp32@cpu, embedded weights"

    for folder in ("COMMITTED", "LOCAL"):
        monkeypatch.setattr(history, folder, tmp_path / "empty")
    without = open_page(tmp_path / "tables", row=chosen)
    assert "Tied with it within noise: `steps-16`" in prose(without)
    assert len(without.get("plotly_chart")) == 1

    streamlit.cache_resource.clear()
    monkeypatch.setattr(history, "COMMITTED", tmp_path / "history")
    page = open_page(tmp_path / "tables", row=chosen)
    assert "Tied" not in prose(page)
    stages = json.loads(page.get("plotly_chart")[1].proto.spec)
    assert stages["data"][0]["y"] == ["base diffusion"]
    assert len(page.get("image")) == 1


def test_the_whole_state_comes_from_the_address(open_page, published):
    chosen = f"{NANO}/bf16@cpu, embedded weights"
    page = open_page(published, seconds="1.0", unranked="hidden", row=chosen, data="0123")
    assert "Within 1 s" in prose(page) and "Hidden by choice" in prose(page)
    assert page.selectbox(key="row").value == chosen
    assert "made from the data 0123" in prose(page)
    link = next(code.value for code in page.code if "data=" in code.value)
    query = parse_qs(urlsplit(link).query, keep_blank_values=True)
    assert set(query) == {"device", "board", "prompts", "seconds", "gigabytes", "unranked", "row", "data"}
    again = open_page(published, **{name: values[0] for name, values in query.items() if values[0]})
    assert "made from the data" not in prose(again) and "Within 1 s" in prose(again)


def test_nonsense_in_the_address_is_ignored(open_page, published):
    page = open_page(published, device="abacus", board="none", seconds="-3", row="nothing", unranked="maybe")
    assert "Without limits" in prose(page)


@pytest.mark.parametrize("device", ["orin", "h100"])
def test_a_device_without_measurements_says_what_to_do(open_page, tmp_path, device):
    page = open_page(tmp_path, device=device)
    assert f"Nothing has been measured on `{device}` yet" in prose(page)
    assert f"pytest -m {device} --benchmark-save" in prose(page) and "python -m leaderboards publish" in prose(page)
    assert not page.get("plotly_chart")
    assert len(page.dataframe) == (1 if device == "orin" else 0)  # published figures


def test_a_device_of_published_figures_only(open_page, tmp_path):
    page = open_page(tmp_path, device="v100")
    assert "no device of this suite" in prose(page) and len(page.dataframe) == 1


def test_a_broken_table_is_named(open_page, tmp_path):
    (tmp_path / "cpu.json").write_text('[{"configuration": "a/b@cpu"}]')
    assert "cpu.json: row 0:" in prose(open_page(tmp_path))


def test_nothing_loads_torch(published):
    """In a fresh process: every module of both rooms, and the page itself."""
    script = """
import importlib, pathlib, sys
for room in ("dashboard", "leaderboards"):
    for path in pathlib.Path(room).glob("*.py"):
        if path.stem not in ("app", "__main__"):
            importlib.import_module(f"{room}.{path.stem}".removesuffix(".__init__"))
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("dashboard/app.py", default_timeout=120).run()
assert not page.exception and page.get("plotly_chart")
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "diffusers", "open_clip", "torchvision"}))
"""
    environment = os.environ | {data.VARIABLE: str(published), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


# The page in a browser


@pytest.fixture(scope="module")
def chromium(published):
    """The served page's address and a browser's page."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if screenshot.find_chromium() is None:
        pytest.skip(f"no Chromium: none of {', '.join(screenshot.CHROMIUMS)} is on the path")
    with screenshot.serve(published) as url, screenshot.browser() as page:
        yield url, page


POINTS = "[data-testid=stPlotlyChart] .scatterlayer path.point"


def test_chromium_shows_plot_and_table_without_asking_other_hosts(chromium, tmp_path):
    url, page = chromium
    screenshot.open_frontier(page, url)
    assert page.locator(POINTS).count() == 4  # two on the frontier, one dominated, one without latency
    assert page.locator("[data-testid=stDataFrame] canvas").first.is_visible()
    assert "best quality is" in page.inner_text("[data-testid=stMain]")
    page.screenshot(path=tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").stat().st_size > 20_000  # an empty page has some 5,000
    assert page.elsewhere == []


def test_chromium_click_chooses_a_row_that_the_address_keeps(chromium):
    url, page = chromium
    screenshot.open_frontier(page, url)
    box = page.locator(POINTS).nth(1).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**row=*")
    screenshot.settle(page)
    address = page.url
    chosen = parse_qs(urlsplit(address).query)["row"][0]
    assert chosen.startswith(NANO)
    screenshot.open_frontier(page, address)
    assert page.url == address
    text = page.inner_text("[data-testid=stMain]")
    assert f"test_configuration[{chosen.split(',')[0]}]" in text
    assert page.locator(POINTS).count() == 5  # the chosen one's ring


def test_chromium_on_a_phone_nothing_runs_off_the_side(chromium):
    url, page = chromium
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot.open_frontier(page, url)
    assert page.locator(POINTS).count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
