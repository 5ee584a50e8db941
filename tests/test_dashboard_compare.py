"""The dashboard's page of comparisons: two rows, sessions or boards. Without a page, without a browser, with one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard import compare, screenshot
from suite.judging.paired_quality import difference, mcnemar_p
from suite.records import Status, Verdict
from tests.dashboard_cases import NANO, a_night, chromium_on, nights, open_app, prose, publish_nights
from tests.factories import measurement

PAGE = "screens/compare.py"
RECIPES = [f"{NANO}/{recipe}@orin" for recipe in ("fp32", "steps-16", "bf16", "steps-8")]
STEPS = "point-e-nano-text/steps-16@cpu"


@pytest.fixture
def open_page(monkeypatch):
    return lambda folder, **query: open_app(monkeypatch, folder, PAGE, **query)


def two_nights() -> list:
    """One cell gets slower, one loses prompts, two stay."""
    first = [a_night(0, cell) for cell in RECIPES]
    second = [
        a_night(1, RECIPES[0], 2.5),
        a_night(1, RECIPES[1], hits=105),
        a_night(1, RECIPES[2]),
        a_night(1, RECIPES[3]),
    ]
    return first + second


# Two measurements


def test_ratios_and_the_paired_difference_are_of_b_over_a():
    a, b = measurement(seconds=2.0, hits=130), measurement(seconds=3.0, hits=110, memory=66_000_000)
    c = compare.Comparison(a, b)
    assert c.latency.value == pytest.approx(1.5) and c.latency.low < 1.5 < c.latency.high
    assert c.latency_verdict == Verdict.REGRESSED and c.memory == pytest.approx(1.1)
    pairs = [(n < 110, n < 130) for n in range(153)]
    assert c.quality == difference(pairs) and c.p == mcnemar_p(pairs)
    said = compare.sentence(c)
    assert "**B is slower**: ×1.50" in said and "-13.1 points" in said and "p = 1.9e-06 on 153 prompts" in said


def test_the_session_is_said_and_other_sessions_are_also_told_over_their_own_reference():
    a = measurement(STEPS, seconds=2.0, reference_s=4.0)
    same = compare.Comparison(a, measurement(STEPS, seconds=3.0, reference_s=4.0))
    assert same.same_session and compare.session_said(same).startswith("Same session")
    other = compare.Comparison(a, measurement(STEPS, seconds=3.0, reference_s=6.0, session="second"))
    assert not other.same_session
    assert "Each over its own session's fp32 the ratio is ×1.00" in compare.session_said(other)
    elsewhere = compare.Comparison(a, measurement(STEPS, seconds=3.0, reference_s=6.0, board="desk"))
    assert not elsewhere.same_session  # a session's name does not make two boards one


def test_a_reference_has_no_ratio_to_itself_to_be_told():
    told = compare.Comparison(measurement(reference_s=4.0), measurement(reference_s=6.0, session="second"))
    assert told.relative_latency is None and "Each over" not in compare.session_said(told)


def test_what_cannot_be_paired_says_why():
    a = measurement()
    assert "B was not scored" in compare.sentence(compare.Comparison(a, measurement(hits=None)))
    other = compare.Comparison(a, measurement(gallery_sha256="c" * 64))
    assert other.quality is None and other.why_not_paired == "ranked in different galleries"
    assert compare.differing_prompts(other).empty


def test_another_end_is_the_verdict_and_its_reason_is_plain_text():
    c = compare.Comparison(measurement(), measurement(status=Status.CRASHED, reason="![x](http://elsewhere/x.png)"))
    assert c.significant and "A ended as ok, B as crashed" in compare.sentence(c)
    assert "![" not in compare.sentence(c) and c.latency is None and c.memory is None


def test_simulated_arithmetic_has_no_latency_ratio_and_kinds_of_memory_do_not_mix():
    a, b = measurement(), measurement(f"{NANO}/w3@cpu")
    assert compare.Comparison(a, b).latency is None
    unified = b.model_copy(update={"memory": a.memory.model_copy(update={"kind": "unified"})})
    assert compare.Comparison(a, unified).memory is None


def test_the_environment_stands_side_by_side_with_what_differs_marked():
    table = compare.environment(
        compare.Comparison(measurement(), measurement(torch="2.14.0", commit="beef" * 10)), frozenset({"beef" * 10})
    ).set_index("")
    assert list(table.loc["torch"]) == ["2.13.0", "2.14.0", True]
    assert not table.loc["chip", "differs"]
    assert table.loc["commit", "B"] == "beef" * 10 + " (not in this repository)"


def test_prompts_on_which_they_differ_and_no_others():
    c = compare.Comparison(measurement(hits={0, 1, 2}), measurement(hits={1, 2, 3}))
    table = compare.differing_prompts(c)
    assert dict(zip(table["prompt"], table["hit by"])) == {"prompt 0": "A", "prompt 3": "B"}


# Two groups


def test_sessions_are_compared_cell_by_cell_those_that_differ_first():
    groups = compare.by_session(two_nights())
    newer, older = groups.values()
    found = compare.compare(older, newer)
    assert [c.significant for c in found] == [True, True, False, False]
    said = compare.verdict(found)
    assert "B differs from A in 2 of 4 cells" in said and "1 slower" in said and "1 of lower quality" in said
    assert compare.left_out(older, newer[:-1]) == [f"{NANO}/fp32, embedded weights"] or len(newer) == 4


def test_more_looks_need_a_smaller_p():
    a, b = measurement(hits=130), measurement(hits=123)  # 7 lost, none won: p = 0.016
    assert compare.Comparison(a, b).quality_differs
    assert not compare.Comparison(a, b, pairs_looked_at=10).quality_differs


def test_boards_are_compared_by_what_each_cell_gave_last():
    its = [*two_nights(), *(a_night(5, cell.replace("@orin", "@cpu"), 4.0, board="desk") for cell in RECIPES[:2])]
    groups = compare.by_board(its)
    assert set(groups) == {"laptop, orin", "desk, cpu"}
    found = compare.compare(groups["laptop, orin"], groups["desk, cpu"])
    assert {c.a.session for c in found} == {"night-1"} and len(found) == 2
    assert compare.left_out(groups["laptop, orin"], groups["desk, cpu"]) == sorted(
        f"{NANO}/{name}, embedded weights" for name in ("bf16", "steps-8")
    )


def test_it_opens_on_the_newest_cell_that_was_measured_twice():
    its = [*two_nights(), a_night(2, f"{NANO}/steps-4@orin")]
    a, b = compare.start(compare.by_row(its))
    assert "2026-09-01" in a and "2026-09-02" in b
    chosen = compare.start(compare.by_row(its), "laptop", f"{RECIPES[2]}, embedded weights")
    assert all(name.startswith(f"{NANO}/bf16,") for name in chosen)


def test_of_many_names_those_with_all_words_are_offered_and_what_is_chosen_stays():
    names = [f"{NANO}/steps-{n}; {board}" for n in (8, 16, 160) for board in ("Orin-1", "t4")]
    assert compare.narrowed(names, "orin STEPS-16") == [f"{NANO}/steps-16; Orin-1", f"{NANO}/steps-160; Orin-1"]
    assert compare.narrowed(names, "orin", keep=[names[1], None, "gone"]) == [names[0], names[1], names[2], names[4]]
    assert compare.narrowed(names, "", most=2, keep=[names[5]]) == [*names[:2], names[5]]
    assert compare.narrowed(names, "nowhere") == []


# The page, without a browser


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_runs_the_page_says_what_to_do(open_page, tmp_path, count):
    (tmp_path / "history").mkdir()
    page = open_page(publish_nights(tmp_path, nights(count)))
    assert "There are not two runs to compare" in prose(page) and "--benchmark-save" in prose(page)


def test_rows_with_verdict_environment_and_prompts(open_page, tmp_path):
    its = [a_night(0), a_night(1, seconds=2.5, hits=110, torch="2.14.0")]
    page = open_page(publish_nights(tmp_path, its))
    assert "**B is slower**: ×1.25" in prose(page) and "Other sessions" in prose(page)
    differing, alike, prompts = (frame.value for frame in page.dataframe)
    assert "torch" in set(differing[""]) and "chip" in set(alike[""])
    assert "not in this repository" in differing.set_index("").loc["commit", "A"]
    assert len(prompts) == 20


def test_many_runs_are_looked_for_by_words(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, [*nights(40), *nights(40, f"{NANO}/bf16@orin", seed=1)]))
    before = page.selectbox(key="a_rows").value, page.selectbox(key="b_rows").value
    assert "80 of 80 to choose from" in prose(page)
    page.text_input(key="words").set_value("bf16 2026-09-02").run()
    options = page.selectbox(key="a_rows").options
    assert "3 of 80 to choose from" in prose(page) and len(options) == 3
    assert (page.selectbox(key="a_rows").value, page.selectbox(key="b_rows").value) == before
    page.selectbox(key="a_rows").set_value(next(name for name in options if "2026-09-02" in name)).run()
    assert not page.exception and "2026-09-02" in page.selectbox(key="a_rows").value


def test_many_nights_as_sessions_with_what_is_alike_folded(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, two_nights()), of="sessions")
    assert "B differs from A in 2 of 4 cells" in prose(page)
    assert len(page.dataframe[0].value) == 2
    (folded,) = [e for e in page.expander if "cannot be told apart" in e.label]
    assert len(folded.dataframe[0].value) == 2
    page.selectbox(key="pair").set_value(f"{NANO}/bf16, embedded weights").run()
    assert not page.exception and "None: both hit and miss the same of 153 prompts" in prose(page)


def test_two_boards(open_page, tmp_path):
    its = [*two_nights(), *(a_night(5, cell, 4.0, board="desk") for cell in RECIPES[:2])]
    page = open_page(publish_nights(tmp_path, its), of="boards")
    assert (
        page.selectbox(key="b_boards").value == "desk, orin" and page.selectbox(key="a_boards").value == "laptop, orin"
    )
    assert "2 slower" in prose(page)


def test_all_failed_and_null_quality(open_page, tmp_path):
    failed = [a_night(n, status=Status.CRASHED, reason="segv") for n in range(2)]
    page = open_page(publish_nights(tmp_path / "failed", failed))
    assert "A was not scored" in prose(page)
    page = open_page(publish_nights(tmp_path / "null", nights(2, hits=None)))
    assert "A was not scored" in prose(page) and "of A's latency" in prose(page)


def test_a_time_in_the_future_is_said(open_page, tmp_path):
    ahead = (datetime.now(timezone.utc) + timedelta(days=400)).isoformat()
    its = [a_night(0), measurement(RECIPES[0], session="ahead", measured_at=ahead)]
    assert "still to come" in prose(open_page(publish_nights(tmp_path, its)))


def test_a_stale_link_is_answered_and_the_whole_state_is_in_the_link(open_page, tmp_path):
    page = open_page(publish_nights(tmp_path, two_nights()), of="sessions", a_sessions="gone")
    assert "unknown a\\_sessions 'gone'" in prose(page)
    link = next(code.value for code in page.code if "data=" in code.value)
    query = parse_qs(urlsplit(link).query, keep_blank_values=True)
    assert set(query) == {"of", "a_sessions", "b_sessions", "pair", "data"}


def test_it_opens_on_the_cell_that_another_page_was_at_and_keeps_its_own_choices(monkeypatch, tmp_path):
    folder = publish_nights(tmp_path, two_nights())
    row = f"{RECIPES[2]}, embedded weights"
    page = open_app(monkeypatch, folder, "screens/history.py", device="orin", row=row)
    page.switch_page(PAGE).run()
    assert page.selectbox(key="a_rows").value.startswith(f"{NANO}/bf16,")
    page.segmented_control(key="of").set_value("sessions").run()
    page.switch_page("screens/history.py").run()
    assert page.selectbox(key="row").value == row
    page.switch_page(PAGE).run()
    assert page.segmented_control(key="of").value == "sessions" and not page.exception
    page.run()
    assert page.segmented_control(key="of").value == "sessions"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    folder = publish_nights(tmp_path_factory.mktemp("nights"), two_nights())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT3D_HISTORY", str(folder.parent / "history"))
        with chromium_on(folder) as (url, page):
            yield url, page


@pytest.mark.slow
def test_chromium_compares_two_sessions_without_asking_other_hosts(chromium, tmp_path):
    url, page = chromium
    screenshot.open_page(page, f"{url}/compare?of=sessions")
    assert "B differs from A in 2 of 4 cells" in page.inner_text("[data-testid=stMain]")
    page.screenshot(path=tmp_path / "compare.png")
    assert page.elsewhere == []


@pytest.mark.slow
def test_chromium_on_a_phone_nothing_runs_off_the_side(chromium):
    url, page = chromium
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot.open_page(page, f"{url}/compare")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
