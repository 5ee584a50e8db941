"""The pages *Overview*, *Health* and *Method*, and what they say, in each state that a history can be in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from dashboard import ages, health, method, overview, screenshot
from dashboard.health import Condition
from leaderboards.rows import measured_rows
from suite.configurations import matrix
from suite.history import MACHINE
from suite.machine import Check, Run, SessionMachine, State
from suite.machine import Condition as MachineCondition
from suite.records import Status
from tests.dashboard_cases import (
    NANO,
    ROOT,
    a_night,
    chromium_on,
    nights,
    open_app,
    prose,
    publish_nights,
    publish_runs,
)
from tests.dashboard_cases import (
    matrix as two_boards,
)
from tests.factories import measurement, session_file

OVERVIEW, HEALTH, METHOD = (f"screens/{name}.py" for name in ("overview", "health", "method"))
AT = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
MARKUP = "<img src=x onerror=alert(1)> ![x](http://elsewhere/x.png) :red[y]"


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return publish_runs(tmp_path_factory.mktemp("published"), two_boards())


# Ages


@pytest.mark.parametrize(
    ("day", "said"),
    [
        ("2026-11-28", "today"),
        ("2026-11-27", "1 day ago"),
        ("2026-11-24", "4 days ago"),
        ("2026-11-10", "2 weeks ago"),
        ("2026-09-01", "2 months ago"),
        ("2024-09-01", "2 years ago"),
        ("2090-01-01", "dated 2090-01-01, which is still to come"),
    ],
)
def test_how_long_ago_in_words(day, said):
    assert ages.age(f"{day}T12:00:00.000+00:00", AT) == said


# Overview


def test_the_first_page_says_what_this_is_and_leads_on(monkeypatch, published):
    page = open_app(monkeypatch, published, OVERVIEW)
    said = prose(page)
    assert "You type a text, and a network makes a 3D object of it" in said
    assert "**Quality is CLIP R-Precision**" in said and "Guessing would be right in 0.7 %" in said
    assert f"**point cloud \\(256\\)**: take `{NANO}/steps-16`: 0.500 s, 60.0 MB, R-Precision 82.4 %" in said
    assert "1 cell failed" in said and "3 of 5 rows ranked" in said
    leads_to = {link.proto.page for link in page.get("page_link")}
    assert {"frontier", "stages", "history", "compare", "health", "method"} <= leads_to
    assert any("board=laptop" in link.proto.query_string for link in page.get("page_link"))


def test_every_board_has_a_card_with_its_age_and_chip(monkeypatch, published):
    page = open_app(monkeypatch, published, OVERVIEW)
    said = prose(page)
    assert said.index("**laptop**") < said.index("**old-laptop**")  # the one with the most ranked rows
    assert said.count("Test chip · measured ") == 2
    assert page.dataframe[0].value["board"].tolist() == ["laptop", "old-laptop"]


def test_nothing_measured_says_what_to_type(monkeypatch, tmp_path):
    (tmp_path / "history").mkdir()
    said = prose(open_app(monkeypatch, tmp_path / "tables", OVERVIEW))
    assert "Nothing has been measured yet" in said and "make bench" in said and "pytest -m orin" in said


def test_one_row_alone_is_the_pick(monkeypatch, tmp_path):
    said = prose(open_app(monkeypatch, publish_runs(tmp_path, [measurement()]), OVERVIEW))
    assert f"take `{NANO}/fp32`" in said and "1 of 1 rows ranked" in said and "as good within noise" not in said


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([measurement(status=Status.CRASHED)], "status crashed"),
        ([measurement(hits=None)], "no r\\_precision"),
        ([measurement(hits=2)], "failed quality: no better than chance"),
    ],
    ids=["failed", "null quality", "chance"],
)
def test_what_is_not_ranked_says_why(monkeypatch, tmp_path, runs, why):
    said = prose(open_app(monkeypatch, publish_runs(tmp_path, runs), OVERVIEW)).replace("\\:", ":")
    assert "none of 1 rows is ranked" in said and why in said


def test_a_time_that_is_still_to_come_is_said(monkeypatch, tmp_path):
    folder = publish_runs(tmp_path, [measurement(measured_at="2090-01-01T00:00:00Z")])
    assert "dated 2090-01-01, which is still to come" in prose(open_app(monkeypatch, folder, OVERVIEW))


def test_what_changed_in_the_newest_session_is_said_on_the_card(monkeypatch, tmp_path):
    its = [*nights(9), a_night(9, status=Status.CRASHED, reason=MARKUP)]
    page = open_app(monkeypatch, publish_nights(tmp_path, its), OVERVIEW)
    assert "Newest session: worse. Since last time: 1 changed in it. 1 cell failed." in prose(page)
    assert page.dataframe[-1].value["verdict"].tolist() == ["regressed"]


def test_a_board_without_tables_says_how_to_make_them(monkeypatch, tmp_path):
    session_file(tmp_path / "history" / "desk" / "0001_x.json", [measurement(board="desk")])
    (tmp_path / "tables").mkdir()
    said = prose(open_app(monkeypatch, tmp_path / "tables", OVERVIEW))
    assert "**desk**" in said and "Not in the tables yet" in said


def test_a_chip_cannot_be_markup(monkeypatch, tmp_path):
    run = measurement()
    run = run.model_copy(update={"fingerprint": run.fingerprint.model_copy(update={"chip": MARKUP})})
    said = prose(open_app(monkeypatch, publish_runs(tmp_path, [run]), OVERVIEW))
    assert "\\!\\[x\\]\\(http" in said and MARKUP not in said


def test_a_link_of_before_this_page_came_first_leads_to_the_frontier(monkeypatch, published):
    page = open_app(monkeypatch, published, OVERVIEW, device="cpu", seconds="1.0", data="0123")
    assert "Within 1 s: best is" in prose(page)


def test_the_table_has_a_line_a_board_and_kind():
    its = [*two_boards(), measurement("shap-e-nano-text/fp32@cpu", output="coloured mesh of a grid of 64")]
    table = overview.table(overview.cards(measured_rows(its), its), AT)
    assert list(zip(table["board"], table["kind"])) == [
        ("laptop", "point cloud (256)"),
        ("laptop", "mesh"),
        ("old-laptop", "point cloud (256)"),
    ]


# Health


def test_every_cell_of_the_matrix_has_its_condition():
    its = [
        measurement(measured_at="2026-11-01T00:00:00Z", session="old"),
        measurement(f"{NANO}/steps-16@cpu", measured_at="2026-01-01T00:00:00Z"),
        measurement(f"{NANO}/bf16@cpu", measured_at="2026-11-01T00:00:00Z"),
        measurement(f"{NANO}/bf16@cpu", status=Status.CRASHED, reason="segmentation fault"),
        measurement(f"{NANO}/steps-8@cpu", protocol="0"),
        measurement("left-the-matrix/fp32@cpu"),
        measurement(f"{NANO}/onednn@cpu", status=Status.UNSUPPORTED, reason="no such kernel"),
        measurement("point-e-40m-text/fp32@cpu", status=Status.NEEDS_WEIGHTS, weights=None, reason="no weights here"),
    ]
    found = {cell.configuration: cell for cell in health.cells_of("cpu", sorted(its, key=lambda m: m.measured_at))}
    assert found.keys() >= {c.id for c in matrix() if c.device.name == "cpu"}
    told = {name.partition("@")[0]: (cell.condition, cell.why) for name, cell in found.items()}
    assert told[f"{NANO}/fp32"][0] == Condition.MEASURED
    assert told[f"{NANO}/steps-16"] == (Condition.STALE, "326 days older than the board's newest run")
    assert told[f"{NANO}/bf16"] == (
        Condition.FAILED,
        "crashed: segmentation fault; last ended well on 2026-11-01",
    )
    assert told[f"{NANO}/steps-8"][0] == Condition.STALE and "protocol 0" in told[f"{NANO}/steps-8"][1]
    assert told["left-the-matrix/fp32"][0] == Condition.MEASURED and found["left-the-matrix/fp32@cpu"].command is None
    assert told[f"{NANO}/onednn"] == (Condition.IMPOSSIBLE, "no such kernel")
    assert told["point-e-40m-text/fp32"] == (Condition.ABSENT, "no weights here")
    assert (
        told["point-e-40m-text/bf16"][0] == Condition.ABSENT and "docs/weights.md" in told["point-e-40m-text/bf16"][1]
    )


def test_what_a_device_cannot_do_is_not_absent_but_impossible():
    found = {cell.configuration: cell for cell in health.cells_of("t4", [])}
    assert found[f"{NANO}/bf16@t4"].condition == Condition.IMPOSSIBLE
    assert "bfloat16" in found[f"{NANO}/bf16@t4"].why


def machine(**run) -> SessionMachine:
    def at(minute: int) -> MachineCondition:
        return MachineCondition(
            at=f"2026-11-23T04:{minute:02}:00Z", canary_samples_s=[0.002] * 3, power_modes={"cpu": "performance"}
        )

    checks = [
        Check(name="swap", state=State.OK, found="none in use"),
        Check(name="governor", state=State.WARN, found=MARKUP, advice="type this", device="cpu"),
    ]
    return SessionMachine(
        session="first",
        board="laptop",
        runs=[Run(start=at(0), end=at(9), checks=checks, noticed=["hot"])],
        unsteady=["rebooted"],
    )


def test_the_health_of_a_board_with_its_checks(monkeypatch, tmp_path):
    path = session_file(tmp_path / "history" / "laptop" / "0001_first.json", two_boards())
    content = json.loads(path.read_text()) | {MACHINE: machine().model_dump(mode="json")}
    path.write_text(json.dumps(content))
    (tmp_path / "tables").mkdir()
    page = open_app(monkeypatch, tmp_path / "tables", HEALTH, board="laptop")
    said = prose(page)
    assert re.search(r"\d+ cells: 1 failed, \d+ absent, [1-9]\d* not possible, 4 measured", said)
    assert "- Unsteady\\: rebooted" in said and "canary 2.00 ms then 2.00 ms" in said and "noticed\\: hot" in said
    checks = page.dataframe[-1].value
    assert checks["check"].tolist() == ["governor", "swap"]  # what is to be mended comes first


def test_cells_can_be_asked_for_by_condition(monkeypatch, published):
    page = open_app(monkeypatch, published, HEALTH, cells="failed")
    assert page.dataframe[1].value["configuration"].tolist() == [f"{NANO}/steps-8"]
    assert "crashed: segmentation fault; never ended well here" in page.dataframe[1].value["why"][0]
    assert "kept no checks of its machine" in prose(page)
    assert "No cell is stale" in prose(open_app(monkeypatch, published, HEALTH, cells="stale"))


@pytest.mark.parametrize("device", ["orin", "v100"])
def test_a_device_that_measured_nothing_has_health_too(monkeypatch, published, device):
    page = open_app(monkeypatch, published, HEALTH, device=device)
    assert f"No run of `{device}` is at hand" in prose(page)
    assert len(page.dataframe) == (2 if device == "orin" else 0)


def test_health_of_a_time_that_is_still_to_come_and_a_commit_that_is_nowhere(monkeypatch, tmp_path):
    its = [measurement(measured_at="2090-01-01T00:00:00Z", commit="f" * 40)]
    page = open_app(monkeypatch, publish_runs(tmp_path, its), HEALTH, cells="measured")
    line = page.dataframe[1].value.iloc[0]
    assert line["why"] == "dated 2090-01-01, which is still to come" and "not in this repository" in line["commit"]


# Method


def test_the_glossary_is_the_document_and_can_be_searched(monkeypatch, published):
    page = open_app(monkeypatch, published, METHOD)
    said = prose(page)
    assert "##### Latency" in said and "**Canary**: a fixed piece of work" in said and "cff-version: 1.2.0" in said
    page.text_input[0].set_value("CANARY").run()
    assert "**Canary**" in prose(page) and "**Journal**" not in prose(page)
    page.text_input[0].set_value("no such word").run()
    assert "No word or meaning has that" in prose(page)


def test_every_line_of_the_words_is_an_entry_and_no_link_leads_nowhere():
    lines = [line for line in (ROOT / "docs" / "words.md").read_text().splitlines() if line.startswith("**")]
    assert len(method.glossary()) == len(lines) > 20
    shown = "".join(text for _, text in method.method())
    assert "](" not in shown and "`docs/nights.md`" in shown


def test_the_citation_is_valid():
    command = [
        str(Path(sys.executable).with_name("check-jsonschema")),
        "--builtin-schema",
        "vendor.citation-file-format",
    ]
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: pip install -e '.[dev]'")
    run = subprocess.run([*command, str(method.CITATION)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


# In a browser


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "health", "method"])
def test_chromium_shows_the_page_without_other_hosts_also_on_a_phone(published, name):
    with chromium_on(published) as (url, page):
        screenshot.open_page(page, f"{url}/{name}")
        assert page.elsewhere == []
        page.set_viewport_size({"width": 390, "height": 844})
        screenshot.settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
