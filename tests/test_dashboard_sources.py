"""Every figure leads to its source, a pinned link to its data, and what is seen can be taken along."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path

import pandas
import pytest
import streamlit

from dashboard import commits, data, exports, links, snapshots, sources
from leaderboards.rows import measured_rows
from suite.index.kept import Kept
from suite.index.reading import read_indexed
from suite.records import PublishedRow, Status
from tests.dashboard_cases import NANO, a_night, matrix, open_app, prose, publish_nights, publish_runs, specs
from tests.factories import measurement, row, session_file

FRONTIER, COMPARE, HISTORY = (f"screens/{name}.py" for name in ("frontier", "compare", "history"))
CHOSEN = f"{NANO}/fp32@cpu, embedded weights"


# The source of a row


def test_the_file_of_a_row_and_of_a_measurement_is_found(tmp_path):
    first = measurement(session="a", measured_at="2026-11-20T04:00:00Z")
    second = measurement(session="b", seconds=1.0)
    session_file(tmp_path / "history" / "laptop" / "0001_a.json", [first])
    session_file(
        tmp_path / "history" / "laptop" / "0002_b.json", [second, measurement(f"{NANO}/bf16@cpu", session="b")]
    )
    (tmp_path / "history" / "laptop" / "0000_broken.json").write_text(f'{{"cells": "a b {first.configuration}')
    (shown,) = (r for r in measured_rows([first, second]) if r.configuration == first.configuration)
    folders = [tmp_path / "absent", tmp_path / "history"]
    found = sources.of(shown, folders)
    assert found == sources.of(second, folders)
    assert (found.session, found.file) == ("b", "history/laptop/0002_b.json")
    assert found.fingerprint == second.fingerprint.id
    assert found.command == f'pytest "suite/test_configurations.py::test_configuration[{NANO}/fp32@cpu]"'
    assert sources.of(first, folders).file == "history/laptop/0001_a.json"


def test_a_measurement_of_the_index_has_the_same_source(tmp_path):
    run = measurement()
    os.utime(session_file(tmp_path / "laptop" / "0001_a.json", [run]), (1e9, 1e9))  # long settled
    (kept,) = read_indexed(tmp_path, worth_bytes=0).measurements
    assert isinstance(kept, Kept)
    assert sources.of(kept, [tmp_path]) == sources.of(run, [tmp_path])


def test_a_file_that_is_not_at_hand_is_said_and_a_commit_that_is_nowhere_marked(tmp_path):
    facts = dict(sources.of(measurement(commit="f" * 40), [tmp_path]).facts(frozenset(["f" * 40])))
    assert facts["file"] == sources.NOT_AT_HAND
    assert facts["commit"] == f"{'f' * 40} ({commits.ABSENT})"
    unknown = dict(sources.of(row(measured_at=None), [tmp_path]).facts())
    assert unknown["session"] == unknown["commit"] == unknown["measured at"] == "–"


def test_the_frontier_leads_to_the_source_of_a_row(monkeypatch, tmp_path):
    page = open_app(monkeypatch, publish_runs(tmp_path, matrix()), FRONTIER, row=CHOSEN)
    said = prose(page).replace("\\", "")
    assert ":gray[session] first" in said and ":gray[file] history/laptop/0001_first.json" in said
    assert f":gray[fingerprint] {matrix()[0].fingerprint.id}" in said and str(tmp_path) not in said
    assert "0123456789abcdef0123456789abcdef01234567 (not in this repository)" in said
    assert any(code.value.startswith("pytest ") for code in page.code)
    table = page.dataframe[0].value
    assert set(table["session"]) == {"first"} and table["fingerprint"].str.len().eq(12).all()


def test_compare_leads_to_the_source_of_both_sides(monkeypatch, tmp_path):
    page = open_app(monkeypatch, publish_nights(tmp_path, [a_night(0), a_night(1)]), COMPARE)
    said = prose(page).replace("\\", "")
    assert "history/laptop/night-0.json" in said and "history/laptop/night-1.json" in said
    assert sum(code.value.startswith("pytest ") for code in page.code) == 2


# A link that names other data


def repository(folder: Path) -> tuple[Path, list[str]]:
    """A repository with two states of its tables; their hashes."""

    def git(*arguments: str) -> None:
        command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    digests = []
    for runs in ([measurement()], matrix()):
        tables = publish_runs(folder, runs)
        target = folder / snapshots.TABLES
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["rm", "-rf", str(target)], check=True)
        tables.rename(target)
        digests.append(data.digest(data.load(target)))
        git("add", snapshots.TABLES)
        git("commit", "-qm", "tables")
    return folder, digests


def test_every_state_of_the_tables_is_found_by_its_hash(tmp_path):
    folder, digests = repository(tmp_path)
    found = snapshots.by_digest(folder)
    assert list(found) == digests[::-1]
    head = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    assert found[digests[1]].commit == head
    assert f"git worktree add --detach ../text3d-{head[:8]} {head[:12]}" in found[digests[1]].commands()
    assert snapshots.by_digest(tmp_path / "no repository") == {}


def test_a_link_to_an_earlier_state_says_how_to_see_it(monkeypatch, tmp_path):
    folder, (earlier, now) = repository(tmp_path)
    found = snapshots.by_digest(folder)
    monkeypatch.setattr(snapshots, "by_digest", lambda: found)
    streamlit.cache_data.clear()
    tables = folder / snapshots.TABLES
    page = open_app(monkeypatch, tables, data=earlier)
    assert f"made from the data {earlier}; shown is {now}" in prose(page)
    assert f"tables of commit {found[earlier].commit[:8]}" in prose(page)
    assert any("TEXT3D_PUBLISHED=" in code.value for code in page.code)
    assert "made from the data" not in prose(open_app(monkeypatch, tables, data=now))
    assert "No tables that were ever committed here" in prose(open_app(monkeypatch, tables, data="0123456789ab"))
    streamlit.cache_data.clear()


def test_a_field_that_comes_later_changes_no_hash_of_before():
    class Later(PublishedRow):
        comes_later: float | None = None

    assert data.digest([row()]) == data.digest([Later(**row().model_dump())])
    assert data.digest([row()]) != data.digest([Later(**row().model_dump(), comes_later=1.0)])


def test_a_hash_of_a_link_cannot_be_markup():
    said = links.other_data("![x](http://elsewhere/x.png)" + "a" * 5000, "abc")
    assert "\\!\\[x\\]\\(http" in said and len(said) < 300


# Exports


def test_rows_are_exported_with_every_field_and_null_stays_null():
    rows = [
        row(stage_latency_s={"a": 1.0}),
        row(f"{NANO}/bf16@cpu", status=Status.CRASHED, r_precision=None, reason="a|b"),
    ]
    made = {export.ending: export.make() for export in exports.of_rows(rows)}
    assert set(made) == {"csv", "json", "md", "parquet"}
    first, second = csv.DictReader(io.StringIO(made["csv"].decode()))
    assert first["latency_s"] == "2.0" and second["r_precision"] == ""
    assert [PublishedRow(**line) for line in json.loads(made["json"])] == rows
    table = pandas.read_parquet(io.BytesIO(made["parquet"]))
    assert list(table.columns) == list(PublishedRow.model_fields)
    assert table["r_precision"].isna().tolist() == [False, True]
    assert json.loads(table["stage_latency_s"][0]) == {"a": 1.0}
    lines = made["md"].decode().splitlines()
    assert len(lines) == 4 and "a\\|b" in made["md"].decode()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_of_a_csv_is_a_formula(text):
    failed = row(status=Status.CRASHED).model_copy(update={"reason": text, "quality_difference": -0.5})
    made = {export.ending: export.make() for export in exports.of_rows([failed])}
    (line,) = csv.DictReader(io.StringIO(made["csv"].decode(), newline=""))
    assert line["reason"] == "'" + text.replace("\r", "\n") and line["quality_difference"] == "-0.5"
    assert json.loads(made["json"])[0]["reason"] == text
    (shown,) = [e for e in exports.of_table(pandas.DataFrame({"reason": [text]})) if e.ending == "csv"]
    (line,) = csv.DictReader(io.StringIO(shown.make().decode(), newline=""))
    assert line["reason"] == "'" + text.replace("\r", "\n")


def test_a_table_is_exported_as_it_is_shown():
    table = pandas.DataFrame({"cell": ["x|y", "z"], "mixed": [1.5, "–"], "number": [1.25, None]})
    made = {export.ending: export.make() for export in exports.of_table(table)}
    assert made["csv"].decode() == "cell,mixed,number\nx|y,1.5,1.25\nz,–,\n"
    assert json.loads(made["json"])[1] == {"cell": "z", "mixed": "–", "number": None}
    assert made["md"].decode().splitlines()[2:] == ["| x\\|y | 1.5 | 1.25 |", "| z | – | – |"]
    again = pandas.read_parquet(io.BytesIO(made["parquet"]))
    assert again["mixed"].tolist() == ["1.5", "–"] and again["number"].isna().tolist() == [False, True]


@pytest.mark.parametrize("table", [pandas.DataFrame(), pandas.DataFrame({"a": []})], ids=["nothing", "no line"])
def test_an_empty_table_is_exported_in_every_format(table):
    for export in exports.of_table(table):
        assert isinstance(export.make(), bytes)


def test_every_format_is_offered_and_the_camera_saves_what_was_chosen(monkeypatch, tmp_path):
    page = open_app(monkeypatch, publish_runs(tmp_path, matrix()), FRONTIER)
    assert [button.label for button in page.get("download_button")] == ["CSV", "JSON", "Markdown", "Parquet"]

    def picture() -> str:
        return json.loads(page.get("plotly_chart")[0].proto.config)["toImageButtonOptions"]["format"]

    assert picture() == "svg" and len(specs(page)) == 1
    page.session_state["picture"] = "png"
    page.run()
    assert picture() == "png" and not page.exception
