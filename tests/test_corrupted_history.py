"""What cannot be read in a history: said always, set aside only where it is the project's own."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from suite import history
from suite.history import HistoryError, read_folder, read_session
from suite.saving import Journal
from tests.factories import measurement, row, session_file

STEPS = "point-e-nano-text/steps-16@cpu"


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}


def corrupt(folder: Path) -> Path:
    session_file(folder / "0001_good.json", [measurement()])
    for name, content in {
        "0002_cut.json": (folder / "0001_good.json").read_text()[:-500],
        "0003_empty.json": "",
        "0004_other.json": '{"hello": 1}',
        "0005_list.json": "[1]",
        "0006_field.json": json.dumps({"benchmarks": [], "cells": [{"configuration": 1}]}),
        "journal/s1/bytes.json": "\udcff\udcfe",
        "journal/s1/cells.json": json.dumps({"benchmarks": [], "cells": {"a": 1}}),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode(errors="surrogateescape"))
    return folder


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """tmp_path is a board's folder in the project's own history."""
    monkeypatch.setattr(history, "LOCAL", tmp_path.parent)
    return tmp_path


def test_corrupted_files_are_set_aside_and_reported_while_the_rest_is_read(ours):
    tmp_path = ours
    read = read_folder(corrupt(tmp_path))
    assert read.measurements == [measurement()]
    assert len(read.problems) == 7
    assert sorted(files(tmp_path)) == ["0001_good.json"] + sorted(
        f"quarantine/{name}"
        for name in (
            "0002_cut.json",
            "0003_empty.json",
            "0004_other.json",
            "0005_list.json",
            "0006_field.json",
            "journal/s1/bytes.json",
            "journal/s1/cells.json",
        )
    )
    for problem in read.problems:
        assert "\n" not in problem and "moved to" in problem
    assert any("0006_field.json: configuration: " in problem for problem in read.problems)


def test_a_quarantined_file_keeps_its_content_and_is_reported_once(ours):
    (ours / "0001_x.json").write_text("{")
    assert len(read_folder(ours).problems) == 1
    assert (ours / "quarantine" / "0001_x.json").read_text() == "{"
    assert read_folder(ours).problems == []


def test_a_second_corrupted_file_of_the_same_name_does_not_replace_the_first(ours):
    for content in ("{first", "{second"):
        (ours / "0001_run.json").write_text(content)
        read_folder(ours)
    assert sorted(files(ours / "quarantine").values()) == ["{first", "{second"]


def test_a_corrupted_file_that_cannot_be_moved_is_reported_and_the_rest_is_read(ours):
    tmp_path = ours
    session_file(tmp_path / "good.json", [measurement()])
    (tmp_path / "0001_bad.json").write_text("{")
    (tmp_path / "quarantine").write_text("a file is in the way")
    read = read_folder(tmp_path)
    assert read.measurements == [measurement()]
    assert len(read.problems) == 1 and "left where it is" in read.problems[0]


def test_a_file_that_cannot_be_read_just_now_is_reported_but_stays_where_it_is(ours, tmp_path, monkeypatch):
    """Too many open files, a network disk that stalls, another user's file: the measurement in it is good."""
    path = session_file(tmp_path / "0001_good.json", [measurement()])
    reading = Path.read_text

    def fail(self, *arguments, **options):
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return reading(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", fail)
    read = read_folder(tmp_path)
    assert len(read.problems) == 1
    monkeypatch.undo()
    assert path.exists()
    assert read_folder(tmp_path).measurements == [measurement()]


def test_a_file_of_a_newer_version_is_reported_but_not_taken_for_corrupted(ours, tmp_path):
    data = measurement().model_dump(mode="json") | {"schema_version": 2, "something_new": 1}
    path = tmp_path / "0001_new.json"
    path.write_text(json.dumps(data))
    read = read_folder(tmp_path)
    assert read.measurements == [] and len(read.problems) == 1
    assert path.exists()


def test_a_named_session_that_cannot_be_read_is_a_history_error_with_its_path(tmp_path):
    for content in ("{", "[]", '{"a": 1}', '{"benchmarks": [], "cells": [{"model": 1}]}'):
        path = tmp_path / "x.json"
        path.write_text(content)
        with pytest.raises(HistoryError, match="x.json"):
            read_session(path)
        assert path.exists()
    with pytest.raises(HistoryError, match="absent.json"):
        read_session(tmp_path / "absent.json")


# Whose file it is.


def test_in_a_folder_that_a_user_names_nothing_is_moved(tmp_path):
    corrupt(tmp_path)
    before = files(tmp_path)
    read = read_folder(tmp_path)
    assert read.measurements == [measurement()] and len(read.problems) == 7
    assert all("left where it is, not read" in problem for problem in read.problems)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "moved"),
    [
        ("notes.json", '{"hello": 1}', False),  # somebody else's
        ("notes.json", "{", False),
        ("other/journal/notes.json", "{", False),
        ("notes.json", '{"cells": 3, "benchmarks": []}', True),  # says that it is ours
        ("copy.json", '{"schema_version": 1, "session": "s", "configuration": "c"}', True),
        ("0001_run.json", "{", True),  # lies where ours lie
        ("journal/s1/fp32.json", "{", True),
    ],
)
def test_in_the_projects_history_only_its_own_files_are_set_aside(ours, name, content, moved):
    path = ours / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    (problem,) = read_folder(ours).problems
    assert path.exists() != moved
    assert ("moved to" in problem) == moved


def test_the_committed_history_is_the_projects_too(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "COMMITTED", tmp_path)
    (tmp_path / "laptop").mkdir()
    (tmp_path / "laptop" / "0001_run.json").write_text("{")
    read_folder(tmp_path)
    assert list(files(tmp_path)) == ["quarantine/laptop/0001_run.json"]


def test_published_tables_among_the_local_runs_are_no_problem(ours):
    """`make bench` writes them there, and reads the folder again the next time."""
    table = ours / "cpu.json"
    table.write_text(json.dumps([row().model_dump(mode="json")]))
    assert read_folder(ours) == history.History()
    assert table.exists()


# One cell.


def broken_cell(path: Path) -> Path:
    session_file(path, [measurement(), measurement(STEPS)])
    data = json.loads(path.read_text())
    data["cells"][1]["memory"]["peak_memory_bytes"] = "much"
    path.write_text(json.dumps(data))
    return path


def test_one_bad_cell_is_named_and_the_good_ones_are_read_from_the_file_where_it_is(ours):
    path = broken_cell(ours / "0001_run.json")
    for read in (read_folder(ours), read_session(path)):
        assert read.measurements == [measurement()]
        (problem,) = read.problems
        for word in (str(path), "cells.1", STEPS, "memory.peak_memory_bytes"):
            assert word in problem
        assert "moved" not in problem
    assert path.exists()


def test_a_cell_of_a_newer_version_does_not_hide_the_others(ours):
    path = session_file(ours / "0001_run.json", [measurement(), measurement(STEPS)])
    data = json.loads(path.read_text())
    data["cells"][0]["schema_version"] = 99
    path.write_text(json.dumps(data))
    read = read_folder(ours)
    assert read.measurements == [measurement(STEPS)]
    assert len(read.problems) == 1 and "newer text3d-bench" in read.problems[0]


def test_a_broken_measurement_in_a_journal_elsewhere_is_reported_and_left(tmp_path):
    journal = Journal(tmp_path / "journal" / "s1")
    journal.write("fp32", measurement())
    (journal.folder / "steps.json").write_text("{")
    read = journal.read()
    assert read.measurements == [measurement()] and "steps.json" in read.problems[0]
    assert (journal.folder / "steps.json").exists()
