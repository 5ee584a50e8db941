"""The page *Frontier*: run without a browser, then looked at in a real one, on tables published from runs."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import commits, data, screenshot, tables
from leaderboards.axes import TITLES
from leaderboards.rows import literature_rows
from suite import history
from suite.judging.scores import summarize
from suite.records import Energy
from tests.dashboard_cases import (
    NANO,
    chromium_on,
    heavy_modules,
    matrix,
    nights,
    open_app,
    prose,
    publish_nights,
    publish_runs,
    specs,
    with_stages,
)
from tests.factories import measurement, quality


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return publish_runs(tmp_path_factory.mktemp("published"), matrix())


@pytest.fixture
def open_page(monkeypatch):
    return lambda folder, **query: open_app(monkeypatch, folder, **query)


def spec(page: AppTest) -> dict:
    return specs(page)[0]


def test_the_page_opens_on_the_frontier_and_the_table(open_page, published):
    page = open_page(published)
    assert "Without limits: best is" in prose(page)
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
    assert f"Within 1 s: best is `{NANO}/steps-16@cpu`" in prose(page)
    assert "Nearest miss: `fp32`" in prose(page)
    assert spec(page)["layout"]["shapes"][0]["x0"] == 1.0
    page.number_input(key="gigabytes").set_value(0.001).run()
    assert "nothing fits" in prose(page)


def test_a_least_quality_asks_for_the_fastest_that_reaches_it(open_page, published):
    page = open_page(published, percent="84")
    assert f"With at least 84 %: best is `{NANO}/fp32@cpu`" in prose(page)
    assert "The fastest of 1 that reach that quality" in prose(page)
    assert "Nearest miss: `steps-16`, 82.4 %: quality 82.4 % is 1.6 points under 84 %" in prose(page)
    page.number_input(key="percent").set_value(100.0).run()
    page.number_input(key="seconds").set_value(1.0).run()
    assert "Within 1 s, with at least 100 %: nothing fits" in prose(page)
    assert "percent: '101' cannot be shown" in prose(open_page(published, percent="101")).replace("\\", "")


def test_energy_is_a_limit_that_a_row_without_it_does_not_keep(open_page, tmp_path):
    used = [measurement(energy=Energy(rails=["cpu"], energy_j=9.0)), measurement(f"{NANO}/steps-16@cpu", seconds=0.5)]
    page = open_page(publish_runs(tmp_path, used), joules="10")
    assert f"Within 10 J: best is `{NANO}/fp32@cpu`" in prose(page)
    page.number_input(key="joules").set_value(5.0).run()
    assert "Within 5 J: nothing fits" in prose(page) and "energy 9 J is 80.0 % over 5 J" in prose(page)


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


def test_details_show_the_stages_of_the_row(open_page, tmp_path):
    folder = publish_runs(tmp_path, [with_stages(measurement(), text_share=0.1)])
    page = open_page(folder, row=f"{NANO}/fp32@cpu, embedded weights")
    (bars,) = specs(page)[1]["data"]
    assert bars["y"] == ["text encoder", "base diffusion"]
    assert bars["text"] == ["0.200 s, 10.0 %", "1.80 s, 90.0 %"]


def test_the_run_behind_a_row_gives_ties_prompt_by_prompt_and_pictures_are_shown(open_page, tmp_path, monkeypatch):
    # 12 prompts lost and none won: exact McNemar tells them apart, though the intervals overlap.
    pair = [
        measurement(artefacts={"contact sheet": "sheet.png"}),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=118),
    ]
    folder = publish_runs(tmp_path, pair)
    Image.new("RGB", (8, 8)).save(tmp_path / "sheet.png")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    chosen = f"{NANO}/fp32@cpu, embedded weights"

    for name in ("COMMITTED", "LOCAL"):
        monkeypatch.setattr(history, name, tmp_path / "empty")
    without = open_page(folder, row=chosen)
    assert "tied with it within noise: `fp32`" in prose(without)

    streamlit.cache_resource.clear()
    monkeypatch.setattr(history, "COMMITTED", tmp_path / "history")
    page = open_page(folder, row=chosen)
    assert "tied" not in prose(page)
    assert len(page.get("image")) == 1


def test_it_opens_on_the_quality_that_tells_the_rows_apart(open_page, tmp_path, monkeypatch):
    """Both recognized alike among 153; among 3,001 one is far worse."""
    pair = [measurement(), measurement(f"{NANO}/steps-16@cpu", seconds=0.5)]
    worse = [
        o.model_copy(update={"rank_3001": 9 if n < 60 else o.rank_3001}) for n, o in enumerate(quality(130).outcomes)
    ]
    pair[1] = pair[1].model_copy(update={"quality": summarize("clip-nano-judge", worse)})
    folder = publish_runs(tmp_path, pair)
    for name in ("COMMITTED", "LOCAL"):
        monkeypatch.setattr(history, name, tmp_path / "history" if name == "COMMITTED" else tmp_path / "empty")
    page = open_page(folder)
    assert page.selectbox(key="quality").value == TITLES["r_precision_3001"]
    assert TITLES["r_precision_3001"] in specs(page)[0]["layout"]["yaxis"]["title"]["text"]
    page = open_page(folder, quality=TITLES["r_precision"])
    assert TITLES["r_precision"] in specs(page)[0]["layout"]["yaxis"]["title"]["text"]


def test_the_whole_state_comes_from_the_address(open_page, published):
    chosen = f"{NANO}/bf16@cpu, embedded weights"
    page = open_page(published, seconds="1.0", unranked="hidden", row=chosen, data="0123")
    assert "Within 1 s" in prose(page) and "Hidden by choice" in prose(page)
    assert page.selectbox(key="row").value == chosen
    assert "made from the data 0123" in prose(page)
    link = next(code.value for code in page.code if "data=" in code.value)
    query = parse_qs(urlsplit(link).query, keep_blank_values=True)
    limits = {"seconds", "gigabytes", "joules", "percent"}
    assert set(query) == {"device", "board", "prompts", "kind", "quality", *limits, "unranked", "row", "data"}
    again = open_page(published, **{name: values[0] for name, values in query.items() if values[0]})
    assert "made from the data" not in prose(again) and "Within 1 s" in prose(again)


def test_nonsense_in_the_address_is_said_and_what_is_shown_instead(open_page, published):
    page = open_page(
        published, device="abacus", board="labtop", seconds="-3", gigabytes="8GB", row="nothing", unranked="maybe"
    )
    said = prose(page).replace("\\", "")
    assert "Without limits" in said
    assert "unknown device 'abacus'" in said and "Shown instead: cpu." in said
    assert "unknown board 'labtop'; nearest: laptop" in said and "unknown row 'nothing'" in said
    assert "seconds: '-3' cannot be shown. Shown instead: none." in said and "gigabytes: '8GB'" in said
    assert "unknown unranked 'maybe'" in said


def test_what_a_link_names_cannot_be_markup(open_page, published):
    page = open_page(published, board="![x](http://elsewhere/x.png) :red[y]")
    (said,) = [warning.value for warning in page.warning]
    assert "\\!\\[x\\]\\(http\\://elsewhere/x.png\\)" in said


def test_a_commit_that_is_not_in_this_repository_is_marked(open_page, published, monkeypatch):
    monkeypatch.setattr(commits, "absent", lambda of: frozenset(of))
    streamlit.cache_data.clear()
    page = open_page(published)
    assert page.dataframe[0].value["commit"][0] == "01234567 (not in this repository)"
    streamlit.cache_data.clear()


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


def test_nothing_loads_torch(tmp_path):
    """In a fresh process: every module of both rooms, and every page."""
    folder = publish_nights(tmp_path, nights(2))
    script = f"""
import importlib, os, pathlib, sys
os.environ["TEXT3D_HISTORY"] = {str(tmp_path / "history")!r}
for room in ("dashboard", "leaderboards"):
    for path in pathlib.Path(room).glob("*.py"):
        if path.stem not in ("app", "__main__"):
            importlib.import_module(f"{{room}}.{{path.stem}}".removesuffix(".__init__"))
from streamlit.testing.v1 import AppTest
for path in sorted(pathlib.Path("dashboard/screens").glob("*.py")):
    if "import streamlit" in path.read_text() and "choosing.begin(" in path.read_text():
        page = AppTest.from_file("dashboard/app.py", default_timeout=600).switch_page(f"screens/{{path.name}}").run()
        assert not page.exception, page.exception
        print(path.stem, len(page.get("plotly_chart")))
"""
    *seen, heavy = heavy_modules(script, folder)
    drawn = dict(line.split() for line in seen)
    assert len(drawn) == 9 and heavy == "[]"
    assert all(int(drawn[name]) for name in ("frontier", "stages", "history")), drawn


# The page in a browser


@pytest.fixture(scope="module")
def chromium(published):
    with chromium_on(published) as (url, page):
        yield url, page


POINTS = "[data-testid=stPlotlyChart] .scatterlayer path.point"


@pytest.mark.slow
def test_chromium_shows_plot_and_table_without_asking_other_hosts(chromium, tmp_path):
    url, page = chromium
    screenshot.open_page(page, f"{url}/frontier")
    assert page.locator(POINTS).count() == 4  # two on the frontier, one dominated, one without latency
    assert page.locator("[data-testid=stDataFrame] canvas").first.is_visible()
    assert "best is" in page.inner_text("[data-testid=stMain]")
    page.screenshot(path=tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").stat().st_size > 20_000  # an empty page has some 5,000
    assert page.elsewhere == []


@pytest.mark.slow
def test_chromium_click_chooses_a_row_that_the_address_keeps(chromium):
    url, page = chromium
    screenshot.open_page(page, f"{url}/frontier")
    box = page.locator(POINTS).nth(1).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**row=*")
    screenshot.settle(page)
    address = page.url
    chosen = parse_qs(urlsplit(address).query)["row"][0]
    assert chosen.startswith(NANO)
    screenshot.open_page(page, address)
    assert page.url == address
    text = page.inner_text("[data-testid=stMain]")
    assert f"test_configuration[{chosen.split(',')[0]}]" in text
    assert page.locator(POINTS).count() == 5  # the chosen one's ring


@pytest.mark.slow
def test_chromium_on_a_phone_the_figure_is_on_the_first_screen_and_nothing_runs_off_the_side(chromium):
    url, page = chromium
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot.open_page(page, f"{url}/frontier")
    assert page.locator(POINTS).count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator(POINTS).nth(n).bounding_box() for n in range(4)]
    assert all(box["y"] + box["height"] < 844 for box in boxes), boxes
    assert page.get_by_text("At most, seconds").bounding_box()["y"] > max(box["y"] for box in boxes)


SLOW_PAGE = """
<div data-testid="stApp" data-test-script-state="running"><div data-testid="stPlotlyChart"></div><p>old</p></div>
<script>
    const app = document.querySelector("[data-testid=stApp]");
    setTimeout(() => { app.dataset.testScriptState = "notRunning"; }, 300);
    setTimeout(() => { app.firstChild.innerHTML = '<svg class="main-svg"></svg>'; }, 1200);
    setTimeout(() => { document.querySelector("p").textContent = "new"; }, 1500);
</script>"""


@pytest.mark.slow
def test_chromium_stands_still_once_the_figure_is_drawn_and_nothing_changes(chromium):
    """A busy machine draws long after the script is done: what is read then is an empty box, or the page before."""
    _, page = chromium
    page.goto("about:blank")
    page.set_content(SLOW_PAGE)
    screenshot.settle(page)
    assert page.locator(".main-svg").count() == 1 and page.inner_text("p") == "new"
