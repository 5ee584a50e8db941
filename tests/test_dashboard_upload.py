"""The page *Upload*: runs of others beside ours in one browser session; no page falls over what a file holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import streamlit

from dashboard import screenshot, uploads
from leaderboards.rows import PUBLISHED
from suite.fields import FileName
from suite.history import MACHINE
from suite.records import Status
from tests.dashboard_cases import NANO, a_night, chromium_on, matrix, open_app, prose, publish_runs, specs, with_stages
from tests.factories import measurement, session_file
from tests.test_dashboard_overview import machine

UPLOAD = "screens/upload.py"
NAMES = ("overview", "frontier", "stages", "history", "compare", "gallery", "health", "method")
PAGES = [f"screens/{name}.py" for name in NAMES]
MARKUP = "<img src=x onerror=alert(1)> ![x](http://elsewhere/x.png) :red[y]"


def content(runs, folder: Path, **others) -> bytes:
    """Of a session's file with these runs."""
    path = session_file(folder / "made" / "session.json", runs)
    return json.dumps(json.loads(path.read_text()) | others).encode()


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return publish_runs(tmp_path_factory.mktemp("published"), matrix())


@pytest.mark.parametrize("page", [*PAGES, UPLOAD])
def test_every_page_shows_what_is_committed(page, monkeypatch):
    """That history is long enough to come through the index, whose measurements are not those of a file."""
    app = open_app(monkeypatch, PUBLISHED, page)
    assert app.markdown and not app.exception


# Read


def test_a_file_is_read_by_the_historys_reader_under_boards_of_its_own(tmp_path):
    found = uploads.read("a.json", content(matrix(), tmp_path, **{MACHINE: machine().model_dump(mode="json")}))
    assert found.history.problems == []
    assert [m.model_copy(update={"board": "x"}) for m in found.history.measurements] == [
        m.model_copy(update={"board": "x"}) for m in sorted(matrix(), key=lambda m: m.measured_at)
    ]
    assert {m.board for m in found.history.measurements} == {"uploaded laptop", "uploaded old-laptop"}
    assert list(found.history.machines) == [("uploaded laptop", "first")]
    assert sum(row.on_frontier is True for row in found.rows) == 3
    journalled = uploads.read("cell.json", measurement().model_dump_json().encode())
    assert len(journalled.history.measurements) == 1


CELL = measurement().model_dump(mode="json")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (b"not JSON", "not JSON"),
        (b"\xff\xfe\x00", "utf-8"),
        (b"[" * 1_000_000, "nested too deep"),
        (b'{"cells": [' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b'], "benchmarks": []}', "nested too deep"),
        (b"[]", "neither a measurement nor a pytest-benchmark file"),
        (b'{"benchmarks": [], "cells": 3}', "cells: expected a list"),
        (b'{"benchmarks": []}', "no run in it"),
        (
            json.dumps(CELL | {"memory": {"kind": "process", "peak_memory_bytes": -1}}).encode(),
            "memory.peak_memory_bytes",
        ),
        (json.dumps(CELL | {"canary_s": float("nan")}).encode(), "canary_s"),
        (json.dumps(CELL | {"canary_s": float("inf")}).encode(), "canary_s"),
        (json.dumps(CELL | {"board": "../../etc"}).encode(), "board"),
        (json.dumps(CELL | {"measured_at": "9999-01-01T00:00:00Z"}).encode(), "measured_at"),
        (json.dumps(CELL | {"schema_version": 99}).encode(), "newer text3d-bench"),
        (json.dumps(CELL | {"invented": 1}).encode(), "invented"),
        (json.dumps(CELL).encode() + b" " * 100_000_000, "100.0 MB; at most 20 MB are read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_by_file_and_field(made, said):
    found = uploads.read(f"{MARKUP}.json", made)
    assert found.history.measurements == [] and found.rows == ()
    (line,) = found.history.problems
    assert line.startswith(MARKUP) and said in line and len(line) < 1000


def test_sound_cells_that_make_no_table_together_are_refused(tmp_path):
    fast = measurement(f"{NANO}/steps-16@cpu", seconds=2e-6, reference_s=9e8)  # a speed-up that no row may have
    found = uploads.read("a.json", content([fast], tmp_path))
    assert found.history.measurements == [] and "no rows can be made of its cells" in found.history.problems[0]


def test_a_bad_cell_stops_no_good_one(tmp_path):
    made = json.loads(content([measurement()], tmp_path))
    made["cells"].append(CELL | {"latency": 3})
    found = uploads.read("a.json", json.dumps(made).encode())
    assert len(found.history.measurements) == 1
    assert f"cells.1 ({CELL['configuration']}): latency" in found.history.problems[0]


def test_more_cells_than_there_is_room_for_are_not_read(tmp_path):
    found = uploads.read("a.json", content(matrix(), tmp_path), room=3)
    assert found.history.measurements == [] and "6 cells, where 3 more are taken" in found.history.problems[0]


def test_a_board_of_the_longest_name_has_a_name_still():
    from pydantic import TypeAdapter

    longest = "b" * 100
    assert TypeAdapter(FileName).validate_python(uploads.uploaded(longest)).startswith("uploaded bbb")
    assert len(uploads.read("a", measurement(board=longest).model_dump_json().encode()).rows) == 1


# On the page


def test_uploaded_runs_stand_beside_ours_on_every_page_and_are_never_written(monkeypatch, published, tmp_path):
    monkeypatch.chdir(tmp_path)
    streamlit.cache_resource.clear()
    before = sorted(path for path in published.parent.rglob("*"))
    page = open_app(monkeypatch, published, UPLOAD)
    assert "nothing is written to disk" in prose(page) and "at most 20 MB each" in page.file_uploader[0].label
    made = content([measurement(seconds=0.25), measurement(f"{NANO}/w3@cpu", hits=70)], tmp_path / "theirs")
    page.file_uploader[0].set_value([("theirs.json", made, "application/json")]).run()
    assert not page.exception
    assert page.dataframe[0].value["boards"].tolist() == ["uploaded laptop"]
    for name in PAGES:
        page.switch_page(name).run()
        assert not page.exception, name
    page.switch_page("screens/frontier.py").run()
    assert "uploaded laptop" in page.selectbox(key="board").options
    page.selectbox(key="board").set_value("uploaded laptop").run()
    assert len(page.dataframe[0].value) == 2
    page.selectbox(key="row").set_value(f"{NANO}/fp32@cpu, embedded weights").run()
    assert ":gray[file] uploaded in this browser session" in prose(page)
    page.switch_page("screens/overview.py").run()
    assert "**uploaded laptop**" in prose(page)
    (link,) = [code.value for code in page.code if "data=" in code.value]
    page.switch_page("screens/compare.py").run()
    page.segmented_control(key="of").set_value("boards").run()
    assert "uploaded laptop, cpu" in page.selectbox(key="a_boards").options

    other = open_app(monkeypatch, published, "screens/overview.py")  # another browser session
    assert "uploaded" not in prose(other)
    asked = link.partition("data=")[2]
    other = open_app(monkeypatch, published, "screens/overview.py", data=asked)
    assert f"made from the data {asked}" in prose(other)
    assert "It was made beside uploaded files, to which no link can lead" in prose(other)
    assert "No tables that were ever committed here" not in prose(other)
    assert sorted(path for path in published.parent.rglob("*")) == before

    page.switch_page(UPLOAD).run()
    page.button[0].click().run()
    page.switch_page("screens/overview.py").run()
    assert not page.exception and "uploaded" not in prose(page)


def test_two_sessions_with_boards_of_one_name_do_not_see_each_others(monkeypatch, published, tmp_path):
    shown = []
    for n, reason in enumerate(("theirs", "others")):
        runs = [a_night(k) for k in range(3)] + [a_night(3, status=Status.CRASHED, reason=reason)]
        page = open_app(monkeypatch, published, UPLOAD)
        page.file_uploader[0].set_value([("a.json", content(runs, tmp_path / str(n)), "application/json")]).run()
        page.query_params["device"] = "orin"
        page.switch_page("screens/history.py").run()
        page.selectbox(key="board").set_value("uploaded laptop").run()
        shown.append(prose(page) + page.dataframe[0].value.to_string())
    assert "theirs" in shown[0] and "theirs" not in shown[1] and "others" in shown[1]


STATES = {
    "one row": [measurement()],
    "all failed": [measurement(status=Status.CRASHED), a_night(1, status=Status.OUT_OF_MEMORY)],
    "null quality": [measurement(hits=None), measurement(f"{NANO}/bf16@cpu", hits=None, memory=None)],
    "null latency": [measurement(seconds=None)],
    "two boards": matrix(),
    "a time to come": [measurement(measured_at="2090-01-01T00:00:00Z"), measurement()],
    "a commit that is nowhere": [measurement(commit="f" * 40), measurement(f"{NANO}/bf16@cpu", commit="no commit")],
    "little known": [measurement().model_copy(update=dict.fromkeys(("fingerprint", "board", "commit", "weights")))],
}


@pytest.mark.parametrize("state", STATES)
def test_every_page_stands_in_each_state(monkeypatch, tmp_path, state):
    page = open_app(monkeypatch, publish_runs(tmp_path, STATES[state]), PAGES[0])
    for name in [*PAGES[1:], UPLOAD]:
        page.switch_page(name).run()
        assert not page.exception, name
        whole = any("data=" in code.value for code in page.code)  # the link at a page's end
        assert whole or "There are not two runs to compare" in prose(page), name


def test_hostile_texts_of_an_upload_are_text_on_every_page(monkeypatch, published, tmp_path):
    run = measurement(weights=MARKUP[:90], commit=MARKUP[:90])
    texts = {name: MARKUP for name in ("chip", "driver", "power_mode", "clocks", "torch")}
    run = with_stages(run)
    stages = {MARKUP: run.latency.samples_s}
    run = run.model_copy(update={"latency": run.latency.model_copy(update={"stage_samples_s": stages})})
    run = run.model_copy(update={"fingerprint": run.fingerprint.model_copy(update=texts)})
    failed = a_night(1, f"{NANO}/fp32@cpu", status=Status.CRASHED, reason=MARKUP, weights=MARKUP[:90])
    page = open_app(monkeypatch, published, UPLOAD)
    made = content([run, failed], tmp_path / "theirs")
    page.file_uploader[0].set_value([(f"../../{MARKUP}.json", made, "application/json")]).run()
    for name in PAGES:
        page.switch_page(name).run()
        if any(box.key == "board" for box in page.selectbox):
            page.selectbox(key="board").set_value("uploaded laptop").run()
        if any(box.key == "row" for box in page.selectbox) and name.endswith("frontier.py"):
            page.selectbox(key="row").set_value(page.selectbox(key="row").options[-1]).run()
        assert not page.exception, name
        markdown = "\n".join(e.value for e in [*page.markdown, *page.caption, *page.info, *page.warning])
        assert "![x](" not in markdown and "<img" not in markdown.replace("\\<img", ""), name
        for figure in specs(page):
            for trace in figure["data"]:
                trace.pop("customdata", None)  # the name that a click gives back; never shown
            assert "<img" not in json.dumps(figure), name


@pytest.mark.slow
def test_chromium_takes_a_file_and_refuses_a_large_one(published, tmp_path):
    small, large = tmp_path / "small.json", tmp_path / "large.json"
    small.write_bytes(content(matrix(), tmp_path))
    large.write_bytes(small.read_bytes() + b" " * 21_000_000)
    with chromium_on(published) as (url, page):
        screenshot.open_page(page, f"{url}/upload")
        page.set_input_files("input[type=file]", [str(small), str(large)])
        # They come one after the other, some after the script is done.
        for words in ("20.0MB or smaller", "Compare with ours"):
            page.wait_for_selector(f"text={words}")
        assert page.elsewhere == []
