"""The journal and the history: nothing that was measured is lost, whatever happens to the disk."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from suite import history
from suite.configurations import find
from suite.history import HistoryError, Journal, latest, open_journals, read_folder, read_session, write_atomically
from suite.recording import Recorder, begin
from suite.records import Measurement, Status
from tests.factories import measurement, quality, session_file

FP32, STEPS = "point-e-nano-text/fp32@cpu", "point-e-nano-text/steps-16@cpu"


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}


# Round trip.


def test_a_measurement_survives_json_unchanged():
    made = measurement(STEPS, reference_s=4.0, canary_s=0.001, artefacts={"contact sheet": "a.png"}, smoke=True)
    assert Measurement.model_validate_json(made.model_dump_json()) == made
    assert Measurement.model_validate(json.loads(json.dumps(made.model_dump(mode="json")))) == made


def test_what_is_not_known_is_null_and_never_0():
    data = json.loads(measurement(status=Status.CRASHED).model_dump_json())
    for field in ("latency", "memory", "energy", "quality", "reference", "canary_s", "speedup_vs_original"):
        assert data[field] is None


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(ValueError, match="latencyy"):
        Measurement.model_validate(measurement().model_dump() | {"latencyy": 1})


def test_a_value_that_is_no_number_is_refused_when_it_is_made_and_not_when_it_is_read():
    """JSON has no NaN: it would be written as null, read as malformed, and the whole measurement set aside."""
    broken = quality(3, prompts=3)
    outcome = broken.outcomes[0].model_dump() | {"margin_153": math.nan, "chamfer": math.nan}
    with pytest.raises(ValueError, match="margin_153"):
        type(broken.outcomes[0])(**outcome)


def test_a_journal_gives_back_what_it_was_given(tmp_path):
    journal = Journal(tmp_path / "journal" / "s1")
    made = [measurement(FP32), measurement(STEPS, status=Status.TIMED_OUT, measured_at="2026-11-23T05:00:00Z")]
    for m in made:
        journal.write(find(m.configuration).slug, m)
    assert journal.read().measurements == made
    assert Journal(tmp_path / "journal" / "s1").read().measurements == made  # another process


def test_the_same_configuration_measured_again_in_a_session_replaces_itself(tmp_path):
    journal = Journal(tmp_path / "s1")
    for seconds in (2.0, 3.0):
        journal.write("fp32", measurement(seconds=seconds))
    assert [m.latency.median.value for m in journal.read().measurements] == [3.0]


def test_a_sessions_file_and_its_journal_give_each_measurement_once_and_in_order(tmp_path):
    made = [measurement(STEPS, measured_at="2026-11-23T05:00:00Z"), measurement(FP32)]
    session_file(tmp_path / "0001_first.json", made)
    for m in made:
        Journal(tmp_path / "journal" / "first").write(find(m.configuration).slug, m)
    read = read_folder(tmp_path)
    assert [m.configuration for m in read.measurements] == [FP32, STEPS]
    assert read.problems == []


def test_a_plain_pytest_benchmark_file_has_no_cells_and_no_problem(tmp_path):
    (tmp_path / "0001_other.json").write_text(json.dumps({"benchmarks": [], "machine_info": {}}))
    assert read_folder(tmp_path) == history.History()


def test_an_absent_folder_has_no_history(tmp_path):
    assert read_folder(tmp_path / "none") == history.History()
    assert Journal(tmp_path / "none").read() == history.History()


# Writing.


def test_a_file_is_written_whole_into_new_folders_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"
    write_atomically(path, "ä1")
    write_atomically(path, "ä2")
    assert files(tmp_path) == {"a/b/file.json": "ä2"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "error"),
    ],
)
def test_a_failing_write_leaves_the_old_file_whole_and_says_what_to_do(tmp_path, monkeypatch, step, code, advice):
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(history.os, step, fail)
    with pytest.raises(HistoryError) as caught:
        write_atomically(path, "new")
    assert str(path) in str(caught.value)
    assert advice in str(caught.value)
    monkeypatch.undo()
    assert files(tmp_path) == {"file.json": "old"}
    write_atomically(path, "new")
    assert files(tmp_path) == {"file.json": "new"}


def test_a_death_between_writing_and_renaming_leaves_the_old_file_and_no_measurement(tmp_path, monkeypatch):
    """What a kill leaves is the temporary file; reading passes over it."""
    journal = Journal(tmp_path)
    journal.write("fp32", measurement(seconds=2.0))
    (tmp_path / ".fp32.json.4711.tmp").write_text('{"half')
    read = journal.read()
    assert [m.latency.median.value for m in read.measurements] == [2.0]
    assert read.problems == []


def test_a_folder_below_a_file_is_a_history_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HistoryError, match="file"):
        write_atomically(tmp_path / "file" / "journal" / "x.json", "{}")
    with pytest.raises(HistoryError):
        begin(tmp_path / "file", "s1", resume=False)


def test_a_session_begins_by_writing_so_that_a_bad_folder_is_known_before_anything_is_measured(tmp_path):
    begin(tmp_path, "s1", resume=False)
    assert [journal.session for journal in open_journals(tmp_path)] == ["s1"]


def test_what_is_written_first_needs_room_on_the_disk(tmp_path):
    """An empty file fits on a full disk, and so proves nothing."""
    recorder, _, _ = begin(tmp_path, "s1", resume=False)
    assert (recorder.journal.folder / "begun").stat().st_size > 0


# Corrupted files.


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


def test_corrupted_files_are_set_aside_and_reported_while_the_rest_is_read(tmp_path):
    read = read_folder(corrupt(tmp_path))
    assert read.measurements == [measurement()]
    assert len(read.problems) == 7
    assert sorted(files(tmp_path)) == ["0001_good.json"] + sorted(
        f"quarantine/{name}"
        for name in (
            "0002_cut.json", "0003_empty.json", "0004_other.json", "0005_list.json", "0006_field.json",
            "journal/s1/bytes.json", "journal/s1/cells.json",
        )
    )  # fmt: skip
    for problem in read.problems:
        assert "\n" not in problem and "moved to" in problem
    assert any("0006_field.json: configuration: " in problem for problem in read.problems)


def test_a_quarantined_file_keeps_its_content_and_is_reported_once(tmp_path):
    (tmp_path / "x.json").write_text("{")
    assert len(read_folder(tmp_path).problems) == 1
    assert (tmp_path / "quarantine" / "x.json").read_text() == "{"
    assert read_folder(tmp_path).problems == []


def test_a_second_corrupted_file_of_the_same_name_does_not_replace_the_first(tmp_path):
    for content in ("{first", "{second"):
        (tmp_path / "0001_run.json").write_text(content)
        read_folder(tmp_path)
    assert sorted(files(tmp_path / "quarantine").values()) == ["{first", "{second"]


def test_a_corrupted_file_that_cannot_be_moved_is_reported_and_the_rest_is_read(tmp_path):
    session_file(tmp_path / "good.json", [measurement()])
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "quarantine").write_text("a file is in the way")
    read = read_folder(tmp_path)
    assert read.measurements == [measurement()]
    assert len(read.problems) == 1 and "left where it is" in read.problems[0]


def test_a_file_that_cannot_be_read_just_now_is_reported_but_stays_where_it_is(tmp_path, monkeypatch):
    """Too many open files, a network disk that stalls, another user's file: the measurement in it is good."""
    path = session_file(tmp_path / "good.json", [measurement()])
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


def test_a_file_of_a_newer_version_is_reported_but_not_taken_for_corrupted(tmp_path):
    data = measurement().model_dump(mode="json") | {"schema_version": 2, "something_new": 1}
    path = tmp_path / "new.json"
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


# The latest.


def at(hour: int, **fields) -> Measurement:
    return measurement(measured_at=f"2026-11-23T{hour:02}:00:00.000+00:00", session=f"s{hour}", **fields)


def test_the_newest_of_each_configuration_board_and_kind_of_weights_is_kept():
    made = [at(1), at(3), at(2), at(1, configuration_id=STEPS), at(1, board="other"), at(1, weights="random")]
    assert {(m.configuration, m.board, m.weights, m.session) for m in latest(made)} == {
        (FP32, "laptop", "embedded", "s3"), (STEPS, "laptop", "embedded", "s1"),
        (FP32, "other", "embedded", "s1"), (FP32, "laptop", "random", "s1"),
    }  # fmt: skip


def test_a_smoke_run_never_replaces_a_full_one_but_replaces_an_older_smoke_run():
    assert [m.session for m in latest([at(1), at(2, smoke=True)])] == ["s1"]
    assert [m.session for m in latest([at(1, smoke=True), at(2, smoke=True)])] == ["s2"]
    assert [m.session for m in latest([at(1, smoke=True), at(2)])] == ["s2"]
    assert [m.session for m in latest([at(2, smoke=True), at(1)])] == ["s1"]


def test_what_could_not_start_replaces_nothing_that_ran():
    for status in (Status.NEEDS_WEIGHTS, Status.NOT_HERE):
        assert [m.session for m in latest([at(1), at(2, status=status)])] == ["s1"]
        assert [m.session for m in latest([at(1, smoke=True), at(2, status=status)])] == ["s1"]


def test_a_failed_full_run_is_the_latest_word():
    assert [m.status for m in latest([at(1), at(2, status=Status.CRASHED)])] == [Status.CRASHED]


def test_a_measurement_of_an_older_protocol_is_no_match_for_a_new_one():
    """Its figures mean something else; even a smoke run of today's protocol says more."""
    kept = latest([at(1, protocol="0"), at(2, smoke=True)])
    assert "s2" in [m.session for m in kept]


# Journals left open, and resuming.


def test_a_closed_journal_is_not_open_and_open_ones_come_oldest_first(tmp_path):
    for session in ("20261123T030000-9", "20261123T010000-7", "20261123T020000-8"):
        Journal(tmp_path / "journal" / session).begin()
    Journal(tmp_path / "journal" / "20261123T020000-8").close()
    assert [j.session for j in open_journals(tmp_path)] == ["20261123T010000-7", "20261123T030000-9"]
    assert open_journals(tmp_path / "none") == []


def test_a_new_session_hands_back_crashed_ones_and_resuming_takes_the_last_of_them(tmp_path):
    for session in ("a", "b"):
        journal = Journal(tmp_path / "journal" / session)
        journal.begin()
        journal.write("fp32", measurement(session=session))
    fresh, crashed, problems = begin(tmp_path, "c", resume=False)
    assert (fresh.session, fresh.measurements, problems) == ("c", {}, [])
    assert [j.session for j in crashed] == ["a", "b"]
    (tmp_path / "journal" / "c" / "begun").unlink()
    (tmp_path / "journal" / "c").rmdir()
    resumed, crashed, problems = begin(tmp_path, "d", resume=True)
    assert resumed.session == "b" and list(resumed.measurements) == [FP32]
    assert [j.session for j in crashed] == ["a"]


def test_resuming_a_journal_with_a_corrupted_cell_measures_that_cell_again_and_says_so(tmp_path):
    journal = Journal(tmp_path / "journal" / "a")
    journal.begin()
    journal.write("fp32", measurement(session="a"))
    (journal.folder / "steps.json").write_text("{")
    resumed, _, problems = begin(tmp_path, "b", resume=True)
    assert list(resumed.measurements) == [FP32]
    assert len(problems) == 1 and "steps.json" in problems[0]


# A disk that is full for a while.


class Disk:
    """Stands before write_atomically and refuses while it is full."""

    def __init__(self, monkeypatch):
        self.full, self._write = False, history.write_atomically
        monkeypatch.setattr(history, "write_atomically", self.write)

    def write(self, path: Path, text: str) -> None:
        if self.full:
            raise HistoryError(f"cannot write {path}: the disk is full: free some space")
        self._write(path, text)


def test_what_a_full_disk_refused_is_written_with_the_next_measurement(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    recorder, _, _ = begin(tmp_path, "s1", resume=False)
    disk.full = True
    recorder.keep(find(FP32), measurement(FP32))
    assert "disk is full" in recorder.trouble
    assert recorder.journal.read().measurements == []
    assert recorder.measurements[FP32] == measurement(FP32)  # still known, still in the session's JSON
    disk.full = False
    recorder.keep(find(STEPS), measurement(STEPS))
    assert recorder.trouble is None and recorder.unsaved == {}
    assert {m.configuration for m in recorder.journal.read().measurements} == {FP32, STEPS}


def test_what_is_unsaved_at_the_end_is_tried_once_more_and_the_trouble_is_named(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    recorder = Recorder(Journal(tmp_path / "journal" / "s1"))
    disk.full = True
    for identifier in (FP32, STEPS):
        recorder.keep(find(identifier), measurement(identifier))
    recorder.flush()
    assert len(recorder.unsaved) == 2 and "disk is full" in recorder.trouble
    disk.full = False
    recorder.flush()
    assert recorder.trouble is None
    assert len(recorder.journal.read().measurements) == 2
