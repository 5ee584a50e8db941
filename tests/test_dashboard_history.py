"""The dashboard's page of nights: what changed and since when. Pure functions, the page, and the page in a browser."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard import changes, commits, history, screenshot, verdicts
from suite.judging.nights import past_band
from suite.records import Energy, Status, Verdict
from tests.dashboard_cases import (
    NANO,
    a_night,
    chromium_on,
    nights,
    open_app,
    prose,
    publish_nights,
    specs,
)
from tests.factories import measurement

PAGE = "screens/history.py"
CELL = f"{NANO}/fp32@orin"
SLOW = [a_night(n, seconds=2.4) for n in range(30, 36)]


def line(measurements, quantity: str = "latency_s") -> history.Line:
    (found,) = [one for one in history.lines_of(measurements) if one.quantity == quantity]
    return found


def named(figure) -> dict:
    return {trace.name: trace for trace in figure.data}


@pytest.fixture
def open_page(monkeypatch):
    return lambda folder, **query: open_app(monkeypatch, folder, PAGE, **query)


# Lines and figures


def test_a_cell_has_a_line_a_figure_in_its_unit():
    its = nights(3, energy=Energy(rails=["VIN"], energy_j=20.0))
    assert [one.quantity for one in history.lines_of(its)] == [
        "latency_s",
        "peak_memory_bytes",
        "energy_j",
        "r_precision",
    ]
    assert "seconds" in line(its).title and "lower is better" in line(its).title
    assert "higher is better" in line(its, "r_precision").title
    points = history.series_figure(line(its, "peak_memory_bytes")).data[-1]
    assert list(points.y) == pytest.approx([60.0] * 3)  # megabytes


def test_the_past_has_a_band_and_a_night_outside_it_a_ring():
    its = [*nights(30), a_night(30, seconds=2.5)]
    band = past_band([m.latency.median.value for m in its])
    assert band.low < 2.0 < band.high < 2.1
    figure = history.series_figure(line(its))
    drawn = named(figure)["19 of 20 nights, as its past was"]
    assert (min(drawn.y), max(drawn.y)) == pytest.approx((band.low, band.high))
    rings = figure.data[-1].marker.line.width
    assert rings[-1] > 0 and sum(width > 0 for width in rings) <= 4
    assert history.series_figure(line(nights(3))).data[0].fill is None  # too few nights for a band


def test_a_step_is_drawn_with_its_ratio_and_the_hover_has_the_commit():
    its = [*nights(30), *(a_night(n, seconds=2.5) for n in range(30, 40))]
    figure = history.series_figure(line(its), frozenset({f"{30:010x}"}))
    (mark,) = figure.layout.annotations
    assert mark.text == "×1.25" and str(mark.x).startswith("2026-10-01")
    assert "0000001e"[:8] not in figure.data[-1].hovertext[29]
    assert f"commit {f'{30:010x}'[:8]} (not in this repository)" in figure.data[-1].hovertext[30]


def test_other_conditions_begin_a_segment_of_their_own_that_says_what_differs():
    its = [*nights(15), *(a_night(n, seconds=3.0, torch="2.14.0") for n in range(15, 20))]
    figure = history.series_figure(line(its))
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert [len(trace.x) for trace in points] == [15, 5]
    assert points[0].marker.symbol != points[1].marker.symbol and points[0].marker.color != points[1].marker.color
    assert points[1].name == "since 2026-09-16: torch 2.13.0 then, 2.14.0 now"
    assert not figure.layout.annotations  # no step across conditions


def test_nights_that_failed_have_a_mark_with_the_reason_as_plain_text():
    its = [*nights(3), a_night(3, status=Status.CRASHED, reason="<img src=x> & more")]
    failed = named(history.series_figure(line(its)))[history.FAILED]
    assert failed.hovertext[0].startswith("crashed<br>&lt;img src=x&gt; &amp; more")


# What changed


def test_a_regression_is_told_with_last_good_and_first_bad_commit():
    (change,) = changes.of_board([*nights(30), *SLOW])
    assert (change.quantity, change.verdict, change.found_by) == ("latency_s", Verdict.REGRESSED, "alarm")
    assert change.size == pytest.approx(1.2, abs=0.03)
    assert (change.last_good.commit, change.first_bad.commit) == (f"{29:010x}", f"{30:010x}")
    assert change.healed is None and changes.state(change) == changes.STILL


def test_a_regression_that_healed_on_sunday_is_still_seen():
    healed = [*nights(30), *SLOW, *(a_night(n, seconds=2.0 + 0.01 * (n % 3)) for n in range(36, 42))]
    (change,) = changes.regressions(changes.of_board(healed))
    assert change.healed.session == "night-36"
    assert verdicts.newest(healed).verdict != Verdict.REGRESSED  # the newest night alone does not say it
    assert changes.table([change])["now"][0] == "as before since 2026-10-07"


def test_a_small_change_of_many_nights_is_found_as_a_step_or_an_alarm_once():
    its = [*nights(30, noise=0.005), *(a_night(n, seconds=2.06) for n in range(30, 45))]
    found = changes.regressions(changes.of_board(its))
    assert len(found) == 1 and abs(int(found[0].first_bad.session.split("-")[1]) - 30) <= 5


def test_a_quiet_history_has_no_change():
    assert (
        changes.of_board([m for seed in range(4) for m in nights(40, f"{NANO}/steps-{4 + seed}@orin", seed=seed)]) == []
    )


def test_a_crash_and_lost_prompts_are_changes_that_can_heal():
    its = [*nights(5), a_night(5, status=Status.CRASHED), a_night(6), a_night(7, hits=110), a_night(8, hits=110)]
    quality, status = changes.of_board(its)
    assert (status.quantity, status.last_good.session, status.healed.session) == ("status", "night-4", "night-6")
    assert (quality.quantity, quality.first_bad.session, quality.healed) == ("r_precision", "night-7", None)
    assert changes.size_said(quality) == "-13.1 points" and changes.size_said(status) == "crashed"


def test_an_alarm_keeps_its_name_as_the_history_grows():
    its = [*nights(30), *SLOW, *(a_night(n) for n in range(36, 46))]
    names = [
        {c.id for c in changes.regressions(changes.of_board(its[:n])) if c.found_by == "alarm"} for n in (33, 35, 46)
    ]
    assert names[0] and names[0] <= names[1] <= names[2]


def test_the_smallest_change_is_said_or_why_there_is_none():
    assert "within 3 nights" in verdicts.smallest(line(nights(30)))
    assert verdicts.smallest(line(nights(1))).startswith("1 comparable night; 12 more")


def test_commits_are_asked_for_in_one_call(monkeypatch, tmp_path):
    asked = []
    run = commits.subprocess.run
    monkeypatch.setattr(commits.subprocess, "run", lambda *a, **o: asked.append(a) or run(*a, **o))
    head = run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=commits.ROOT
    ).stdout.strip()
    if not head:
        pytest.skip("this tree is no git repository")
    nowhere = ["0" * 40, "f" * 10, "nonsense\n", "--help"]
    assert commits.absent([head, f"{head}+", None, *nowhere]) == set(nowhere)
    assert len(asked) == 1
    assert commits.absent(nowhere, tmp_path) == frozenset()  # no repository: not marked


# The page, without a browser


def test_without_a_history_the_page_says_what_to_do(open_page, tmp_path):
    (tmp_path / "history").mkdir()
    (tmp_path / "tables").mkdir()
    page = open_page(tmp_path / "tables")
    assert "No run of `cpu` is at hand" in prose(page) and "pytest -m cpu --benchmark-save" in prose(page)


def test_one_night_is_drawn_and_says_that_more_are_needed(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, nights(1)), device="orin")
    assert len(specs(page)) == 3
    assert "nothing to judge by yet" in prose(page) and "1 comparable night; 12 more" in prose(page)
    assert "No change in this board's history" in prose(page)


def test_many_nights_with_a_regression(open_page, tmp_path):
    steady = nights(36, f"{NANO}/steps-16@orin", seed=5)
    page = open_page(publish_nights(tmp_path, [*nights(30), *SLOW, *steady]), device="orin")
    said = prose(page)
    assert "Newest session: worse" in said and "1 regression that is still so" in said
    assert page.selectbox(key="row").value == f"{CELL}, embedded weights"  # opens on what is worse
    assert "Cause: code" in said and "Smallest change that would show" in said
    (table,) = page.dataframe
    assert list(table.value["cell"]) == [f"{NANO}/fp32"]
    assert "not in this repository" in table.value["first bad commit"][0]
    page.segmented_control(key="changes").set_value("regressions only").run()
    assert len(page.dataframe[0].value) == 1 and not page.exception


def test_all_failed(open_page, tmp_path):
    failed = [a_night(n, status=Status.CRASHED, reason="segmentation fault") for n in range(3)]
    page = open_page(publish_nights(tmp_path, failed), device="orin")
    assert "None of its nights ended well" in prose(page) and not specs(page)
    assert list(page.dataframe[-1].value["reason"]) == ["segmentation fault"] * 3


def test_texts_of_files_are_no_markup(open_page, tmp_path):
    mark = "`x` ![a](http://elsewhere/a.png) :red[b] $c$"
    its = [a_night(0), a_night(1, status=Status.CRASHED, reason=mark, commit=mark)]
    its = [m.model_copy(update={"weights": mark}) for m in its]
    page = open_page(publish_nights(tmp_path, its), device="orin")
    said = [element.value for element in (*page.markdown, *page.caption, *page.info, *page.warning)]
    assert any("elsewhere" in text for text in said)
    assert not any("![a]" in text or ":red[b]" in text or "$c$" in text.replace("\\$", "") for text in said)


def test_null_quality(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, nights(3, hits=None)), device="orin")
    assert len(specs(page)) == 2  # latency and memory


def test_two_boards_and_the_one_with_more_ranked_rows_first(open_page, tmp_path):
    more = [a_night(0, f"{NANO}/{recipe}@orin", seconds) for recipe, seconds in (("fp32", 2.0), ("steps-16", 1.0))]
    newer = a_night(9, board="desk")
    page = open_page(publish_nights(tmp_path, [*more, newer]), device="orin")
    assert page.selectbox(key="board").options == ["laptop", "desk"]
    page.selectbox(key="board").set_value("desk").run()
    page.switch_page("screens/frontier.py").run()
    assert page.selectbox(key="board").value == "desk" and page.selectbox(key="device").value == "orin"
    page.switch_page("screens/stages.py").run()
    assert page.selectbox(key="board").value == "desk" and not page.exception


def test_a_timestamp_in_the_future_is_said_and_shown(open_page, tmp_path):
    ahead = (datetime.now(timezone.utc) + timedelta(days=400)).isoformat()
    page = open_page(
        publish_nights(tmp_path, [*nights(2), measurement(CELL, session="ahead", measured_at=ahead)]), device="orin"
    )
    assert "still to come" in prose(page) and len(specs(page)) == 3


def test_a_stale_link_is_answered_in_a_word(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, nights(2)), device="orin", board="labtop", row="gone", changes="some")
    said = prose(page)
    assert "unknown board 'labtop'; nearest: laptop. Shown instead: laptop" in said.replace("\\", "")
    assert "unknown row 'gone'" in said and "unknown changes 'some'" in said


def test_the_link_has_the_whole_state(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, nights(2)), device="orin")
    link = next(code.value for code in page.code if "data=" in code.value)
    query = parse_qs(urlsplit(link).query, keep_blank_values=True)
    assert set(query) == {"device", "board", "weights", "changes", "row", "data"}


def test_a_broken_file_is_said_and_left_where_it_is(open_page, tmp_path, monkeypatch):
    folder = publish_nights(tmp_path, nights(2))
    monkeypatch.setattr("suite.history.LOCAL", tmp_path / "history")  # of ours: other commands would set it aside
    broken = tmp_path / "history" / "laptop" / "0009_broken.json"
    broken.write_text("{")
    assert "not JSON" in prose(open_page(folder, device="orin")) and broken.exists()


# The page in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    folder: Path = publish_nights(tmp_path_factory.mktemp("nights"), [*nights(30), *SLOW])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT3D_HISTORY", str(folder.parent / "history"))
        with chromium_on(folder) as (url, page):
            yield url, page


@pytest.mark.slow
def test_chromium_shows_the_nights_without_asking_other_hosts(chromium, tmp_path):
    url, page = chromium
    screenshot.open_page(page, f"{url}/history?device=orin")
    assert page.locator("[data-testid=stPlotlyChart]").count() == 3
    assert "Newest session: worse" in page.inner_text("[data-testid=stMain]")
    page.screenshot(path=tmp_path / "history.png")
    assert page.elsewhere == []


@pytest.mark.slow
def test_chromium_on_a_phone_nothing_runs_off_the_side(chromium):
    url, page = chromium
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot.open_page(page, f"{url}/history?device=orin")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
