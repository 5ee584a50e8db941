"""The dashboard's second page: where the time and memory go. Figures, table, the page, and the page in a browser."""

from __future__ import annotations

import math
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard import data, memory_timeline, roofline, screenshot, stages
from leaderboards.frontier import key
from leaderboards.rows import measured_rows
from suite.records import MemoryPoint
from tests.dashboard_cases import (
    NANO,
    chromium_on,
    matrix,
    open_app,
    prose,
    publish_runs,
    specs,
    with_stages,
)
from tests.factories import measurement, row

PAGE = "screens/stages.py"
IMAGE = "point-e-nano-image"


def staged() -> list:
    """The matrix with stages: five rows of `laptop` that know them, one of another model, with other decodings."""
    timed = [made for made in matrix() if made.latency is not None and made.board == "laptop"]
    rest = [made for made in matrix() if made not in timed]
    more = [measurement(f"{NANO}/steps-4@cpu", seconds=0.1, hits=0), measurement(f"{IMAGE}/fp32@cpu", seconds=4.0)]
    made = [with_stages(made) for made in timed] + [
        with_stages(more[0], text_share=0.5),
        with_stages(more[1], views_s=6.0),
    ]
    return made + rest


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return publish_runs(tmp_path_factory.mktemp("published"), staged())


@pytest.fixture
def shown(published) -> list:
    return data.of_board(data.load(published), "cpu", "laptop")


@pytest.fixture
def open_page(monkeypatch):
    return lambda folder, **query: open_app(monkeypatch, folder, PAGE, **query)


def traces(figure) -> dict:
    return {trace.name: trace for trace in figure.data}


# Figures and table


def test_seconds_are_stacked_and_end_at_the_latency(shown):
    figure = stages.time_figure(shown)
    assert figure.layout.barmode == "stack"
    found = traces(figure)
    at = list(found["base diffusion"].y).index(f"{NANO}/fp32")
    assert found["text encoder"].x[at] == pytest.approx(0.5)
    assert found["text encoder"].x[at] + found["base diffusion"].x[at] == pytest.approx(2.0)
    assert "lower is better" in figure.layout.xaxis.title.text
    assert f"{NANO}/w3" not in found["base diffusion"].y and f"{NANO}/steps-8" not in found["base diffusion"].y


def test_another_decoding_is_hatched_and_said_to_be_outside(shown):
    found = traces(stages.time_figure(shown))
    views = found["NeRF views (outside the latency)"]
    assert views.marker.pattern.shape == "/"
    assert [x for x in views.x if x is not None] == [6.0]
    assert found["base diffusion"].marker.pattern.shape is None


def test_the_floor_stands_at_half_of_the_time(shown):
    floor = traces(stages.time_figure(shown))[stages.FLOOR]
    assert dict(zip(floor.y, floor.x))[f"{NANO}/fp32"] == pytest.approx(1.0)
    assert "×2.00" in floor.hovertext[list(floor.y).index(f"{NANO}/fp32")]
    without = [row(stage_latency_s={"base diffusion": 2.0})]
    assert stages.FLOOR not in traces(stages.time_figure(without))


def test_shares_add_up_to_a_hundred_and_leave_the_rest_out(shown):
    figure = stages.time_figure(shown, as_shares=True)
    assert set(traces(figure)) == {"text encoder", "base diffusion"}
    for parts in zip(*(trace.x for trace in figure.data)):
        assert sum(parts) == pytest.approx(100)


def test_peaks_of_memory_stand_beside_each_other(shown):
    figure = stages.memory_figure(shown)
    assert figure.layout.barmode == "group"
    assert set(traces(figure)["text encoder"].x) == {30.0} and set(traces(figure)["base diffusion"].x) == {60.0}


def test_a_stage_has_one_colour_in_both_figures(shown):
    time, memory = traces(stages.time_figure(shown)), traces(stages.memory_figure(shown))
    colours = {stage: time[stage].marker.color for stage in ("text encoder", "base diffusion")}
    assert colours == {stage: memory[stage].marker.color for stage in colours}
    assert len(set(colours.values())) == 2


def test_a_stage_that_a_model_lacks_has_no_bar_rather_than_one_of_no_length():
    rows = [row(stage_latency_s={"base diffusion": 2.0}), row(f"{IMAGE}/fp32@cpu", stage_latency_s={"upsampler": 1.0})]
    found = traces(stages.time_figure(rows))
    assert list(found["base diffusion"].x) == [2.0, None] and list(found["upsampler"].x) == [None, 1.0]


def test_a_stage_lies_below_the_roof_that_its_machine_allows(shown):
    found = traces(roofline.roofline_figure(shown))
    at = [text.split("<br>")[0] for text in found["base diffusion"].hovertext].index(f"{NANO}/fp32")
    assert found["base diffusion"].x[at] == pytest.approx(10)  # FLOP a byte
    assert found["base diffusion"].y[at] == pytest.approx(1e9 / 1.5)
    roof = found["float32 roof"]
    assert roof.x[1] == pytest.approx(1e11 / 1e10) and roof.y[1] == roof.y[2] == pytest.approx(1e11)
    assert roof.y[0] == pytest.approx(roof.x[0] * 1e10)
    colour = traces(stages.time_figure(shown))["base diffusion"].marker.color
    assert found["base diffusion"].marker.color == colour
    assert not roofline.roofline_figure([row(stage_latency_s={"base diffusion": 2.0})]).data  # of what nobody counted


def with_timeline(made, *levels: int):
    points = [MemoryPoint(at_s=0.5 * n, level_bytes=level) for n, level in enumerate(levels)]
    return made.model_copy(update={"memory": made.memory.model_copy(update={"timeline": points})})


def test_memory_over_an_objects_time_is_of_the_runs_that_recorded_it():
    known, old = with_timeline(measurement(), 10_000_000, 60_000_000, 20_000_000), measurement(f"{IMAGE}/fp32@cpu")
    rows = measured_rows([known, old])
    lines = memory_timeline.timelines(rows, {key(m): m for m in (known, old)})
    assert [shown.configuration for shown, _ in lines] == [f"{NANO}/fp32@cpu"]
    (trace,) = memory_timeline.timeline_figure(lines).data
    assert list(trace.x) == [0, 50, 100] and list(trace.y) == [10, 60, 20]
    assert "0.5" in trace.hovertext[1] and "60" in trace.hovertext[1]


def test_the_table_has_a_line_a_row_and_stage(shown):
    table = stages.stages_table(shown)
    lines = table[table["configuration"] == f"{IMAGE}/fp32"].set_index("stage")
    assert list(lines.index) == ["text encoder", "base diffusion", "NeRF views"]
    assert lines.loc["text encoder", "share, %"] == pytest.approx(25)
    assert lines.loc["base diffusion", "over the floor"] == pytest.approx(2)
    assert not lines.loc["NeRF views", "part of the latency"]
    assert math.isnan(lines.loc["NeRF views", "share, %"]) and math.isnan(lines.loc["NeRF views", "floor, s"])
    assert set(stages.FORMATS) <= set(table.columns)


# The page, without a browser


def test_the_page_shows_each_models_reference_and_fastest(open_page, published):
    page = open_page(published)
    time, memory, *_ = specs(page)
    assert time["layout"]["barmode"] == "stack" and memory["layout"]["barmode"] == "group"
    assert time["data"][0]["y"] == [f"{NANO}/fp32", f"{NANO}/steps-4", f"{NANO}/steps-16", f"{IMAGE}/fp32"]
    assert len(page.dataframe[0].value) == 4 * 2 + 1


def test_the_page_has_the_roofline_and_says_where_no_run_recorded_its_memory(open_page, published, tmp_path):
    page = open_page(published)
    assert len(specs(page)) == 3 and "FLOP a byte" in specs(page)[2]["layout"]["xaxis"]["title"]["text"]
    assert "runs of before 28 November 2026 did not" in prose(page)
    held = with_timeline(with_stages(measurement()), 1_000_000, 60_000_000)
    page = open_page(publish_runs(tmp_path, [held]))
    assert specs(page)[3]["data"][0]["y"] == [1, 60] and not page.exception


def test_all_rows_and_shares_by_choice(open_page, published):
    page = open_page(published)
    page.segmented_control(key="rows").set_value("all").run()
    assert f"{NANO}/bf16" in specs(page)[0]["data"][0]["y"]
    assert "Seconds" in specs(page)[0]["layout"]["xaxis"]["title"]["text"]
    page.segmented_control(key="unit").set_value("shares").run()
    assert "Share" in specs(page)[0]["layout"]["xaxis"]["title"]["text"]
    assert not page.exception


def test_the_link_opens_the_same_view_again(open_page, published):
    page = open_page(published)
    page.segmented_control(key="unit").set_value("shares").run()
    link = next(code.value for code in page.code if "data=" in code.value)
    query = parse_qs(urlsplit(link).query, keep_blank_values=True)
    assert set(query) == {"device", "board", "prompts", "unit", "rows", "data"}
    assert query["unit"] == ["shares"] and query["board"] == ["laptop"]


def test_minutes_and_seconds_share_no_axis(open_page):
    page = open_page(Path(__file__).parents[1] / "leaderboards" / "published")
    page.selectbox(key="board").set_value("cpu-amd-epyc-003596").run()  # the one that has both

    def drawn() -> set[str]:
        return {name for trace in specs(page)[0]["data"] for name in trace["y"]}

    assert drawn() and not any("40m" in name or "300m" in name for name in drawn())
    page.selectbox(key="prompts").set_value("coco").run()
    assert drawn() and not any("nano" in name for name in drawn())


def test_a_board_measured_before_stages_were_published_says_so(open_page, published):
    page = open_page(published)
    page.selectbox(key="board").set_value("old-laptop").run()
    assert "knows its stages" not in prose(page)  # its runs do know the one stage that they had
    assert specs(page)[0]["data"][0]["y"] == [f"{NANO}/fp32"]


def test_rows_without_stages_are_said(open_page, tmp_path):
    (tmp_path / "cpu.json").write_text(f"[{row().model_dump_json()}]")
    page = open_page(tmp_path)
    assert "No row of `laptop` knows its stages" in prose(page)
    assert not page.get("plotly_chart")


def test_a_device_without_measurements_says_what_to_do(open_page, published):
    page = open_page(published)
    page.selectbox(key="device").set_value("orin").run()
    assert "Nothing has been measured on `orin` yet" in prose(page)
    assert "pytest -m orin --benchmark-save" in prose(page)


# The page in a browser


@pytest.fixture(scope="module")
def chromium(published):
    with chromium_on(published) as (url, page):
        yield url, page


CHARTS = "[data-testid=stPlotlyChart]"
BARS = f"{CHARTS} .barlayer .point"


@pytest.mark.slow
def test_chromium_shows_both_figures_without_asking_other_hosts(chromium, tmp_path):
    url, page = chromium
    screenshot.open_page(page, f"{url}/stages")
    assert page.locator(CHARTS).count() == 3
    widths = [box["width"] for bar in page.locator(BARS).all() if (box := bar.bounding_box())]
    assert sum(width > 1 for width in widths) == 4 * 2 + 1 + 4 * 2  # seconds, the views, memory
    text = page.inner_text("[data-testid=stMain]")
    assert (
        page.locator("[role=dialog]").count() == 0
    )  # Streamlit's "page not found", were it opened first by this address
    assert "Where the time and memory go" in text and "NeRF views (outside the latency)" in text
    page.screenshot(path=tmp_path / "stages.png")
    assert (tmp_path / "stages.png").stat().st_size > 20_000  # an empty page has some 5,000
    assert page.elsewhere == []


@pytest.mark.slow
def test_chromium_toggle_changes_the_axis_and_the_address(chromium):
    url, page = chromium
    screenshot.open_page(page, f"{url}/stages")
    page.get_by_text("shares", exact=True).click()
    page.wait_for_url("**unit=shares*")
    screenshot.settle(page)
    assert "Share of the stages" in page.locator(CHARTS).first.inner_text()
    address = page.url
    screenshot.open_page(page, address)
    assert page.url == address and "Share of the stages" in page.locator(CHARTS).first.inner_text()


@pytest.mark.slow
def test_chromium_leads_from_page_to_page(chromium):
    url, page = chromium
    screenshot.open_page(page, url)
    page.get_by_role("link", name="Time and memory").first.click()
    page.wait_for_url("**/stages*")
    screenshot.settle(page)
    assert page.locator(CHARTS).count() == 3


@pytest.mark.slow
def test_chromium_on_a_phone_nothing_runs_off_the_side(chromium):
    url, page = chromium
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot.open_page(page, f"{url}/stages")
    assert page.locator(CHARTS).count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
