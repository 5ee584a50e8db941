"""The journal and the history: nothing that was measured is lost, whatever happens to the disk."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from suite import history, saving
from suite.configurations import find
from suite.history import HistoryError, latest, read_folder
from suite.records import Measurement, Status
from suite.saving import Journal, open_journals, write_atomically
from suite.session.recording import begin
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

    monkeypatch.setattr(saving.os, step, fail)
    with pytest.raises(HistoryError) as caught:
        write_atomically(path, "new")
    assert str(path) in str(caught.value)
    assert advice in str(caught.value)
    monkeypatch.undo()
    assert files(tmp_path) == {"file.json": "old"}
    write_atomically(path, "new")
    assert files(tmp_path) == {"file.json": "new"}


def test_the_new_name_is_made_to_last_and_so_are_new_folders(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        saving.os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    path = tmp_path / "journal" / "s1" / "cell.json"
    write_atomically(path, "{}")
    assert synced[0].endswith(".tmp")
    assert set(synced[1:]) == {str(path.parent), str(path.parents[1]), str(tmp_path)}
    synced.clear()
    write_atomically(path, "{}")
    assert synced[1:] == [str(path.parent)]


@pytest.mark.parametrize(("code", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced_is_told_only_where_that_is_a_failure(tmp_path, monkeypatch, code, told):
    fsync = os.fsync

    def fail_on_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    monkeypatch.setattr(saving.os, "fsync", fail_on_folders)
    if told:
        with pytest.raises(HistoryError, match="cell.json"):
            write_atomically(tmp_path / "cell.json", "{}")
    else:
        write_atomically(tmp_path / "cell.json", "{}")
    assert files(tmp_path) == {"cell.json": "{}"}


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


# The latest.


def at(hour: int, **fields) -> Measurement:
    return measurement(measured_at=f"2026-11-23T{hour:02}:00:00.000+00:00", session=f"s{hour}", **fields)


def test_the_newest_of_each_configuration_board_and_kind_of_weights_is_kept():
    made = [at(1), at(3), at(2), at(1, configuration_id=STEPS), at(1, board="other"), at(1, weights="random")]
    assert {(m.configuration, m.board, m.weights, m.session) for m in latest(made)} == {
        (FP32, "laptop", "embedded", "s3"),
        (STEPS, "laptop", "embedded", "s1"),
        (FP32, "other", "embedded", "s1"),
        (FP32, "laptop", "random", "s1"),
    }


def test_a_smoke_run_never_replaces_a_full_one_but_replaces_an_older_smoke_run():
    assert [m.session for m in latest([at(1), at(2, smoke=True)])] == ["s1"]
    assert [m.session for m in latest([at(1, smoke=True), at(2, smoke=True)])] == ["s2"]
    assert [m.session for m in latest([at(1, smoke=True), at(2)])] == ["s2"]
    assert [m.session for m in latest([at(2, smoke=True), at(1)])] == ["s1"]


def test_what_could_not_start_replaces_nothing_that_ran():
    for status in (Status.NEEDS_WEIGHTS, Status.NOT_HERE):
        assert [m.session for m in latest([at(1), at(2, status=status)])] == ["s1"]
        assert [m.session for m in latest([at(1, smoke=True), at(2, status=status)])] == ["s1"]


def test_a_session_whose_prompts_a_model_cannot_read_replaces_nothing_that_ran():
    unread = at(3, status=Status.UNSUPPORTED, smoke=True)
    assert [m.session for m in latest([at(1), at(2, smoke=True), unread])] == ["s1"]
    assert [m.session for m in latest([at(2, smoke=True), unread])] == ["s2"]
    assert [m.session for m in latest([unread])] == ["s3"]


def test_a_failed_full_run_is_the_latest_word():
    assert [m.status for m in latest([at(1), at(2, status=Status.CRASHED)])] == [Status.CRASHED]


def test_a_measurement_of_an_older_protocol_is_no_match_for_a_new_one():
    """Its figures mean something else; even a smoke run of today's protocol says more."""
    kept = latest([at(1, protocol="0"), at(2, smoke=True)])
    assert "s2" in [m.session for m in kept]
