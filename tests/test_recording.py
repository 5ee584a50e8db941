"""A session's memory: the run lock, what a resumed journal is good for, and a disk that fills up."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from suite import plugin, saving
from suite.configurations import find
from suite.history import HistoryError
from suite.records import Status
from suite.saving import Journal, open_journals
from suite.session import benchmark_bridge, run_lock
from suite.session.recording import Recorder, Wanted, begin, differences
from suite.session.run_lock import BoardBusy, RunLock
from tests.factories import measurement

FP32, STEPS = "point-e-nano-text/fp32@cpu", "point-e-nano-text/steps-16@cpu"


# The run lock.


@pytest.fixture
def lock(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "shared_folder", lambda: tmp_path)
    return lambda: RunLock("board")


def refuse(monkeypatch, *flags: int, code: int = errno.EACCES):
    """The kernel towards another user's file: these flags are refused, where the file exists."""
    opening = os.open

    def open_(path, asked, *mode):
        if os.path.exists(path) and any(asked & flag == flag for flag in flags):
            raise OSError(code, os.strerror(code), str(path))
        return opening(path, asked, *mode)

    monkeypatch.setattr(run_lock.os, "open", open_)


def test_the_lock_file_is_for_everyone_whatever_the_umask(lock):
    before = os.umask(0o077)
    try:
        held = lock()
        held.acquire(0, print)
    finally:
        os.umask(before)
    assert stat.S_IMODE(held.path.stat().st_mode) == 0o666
    assert held.path.read_text() == f"process {os.getpid()}"
    held.release()


@pytest.mark.parametrize("flags", [(os.O_CREAT,), (os.O_CREAT, os.O_RDWR)])
def test_a_second_user_locks_the_file_of_the_first(lock, monkeypatch, flags):
    """fs.protected_regular refuses O_CREAT on it, and its mode may refuse writing."""
    first = lock()
    first.acquire(0, print)
    refuse(monkeypatch, *flags)
    with pytest.raises(BoardBusy, match=f"process {os.getpid()} is measuring"):
        lock().acquire(0, print)
    first.release()
    second = lock()
    second.acquire(0, print)
    with pytest.raises(BoardBusy):
        lock().acquire(0, print)
    second.release()


def test_who_has_released_the_board_is_not_named_for_one_who_cannot_sign(lock, monkeypatch):
    first = lock()
    first.acquire(0, print)
    first.release()
    refuse(monkeypatch, os.O_RDWR)
    second = lock()
    second.acquire(0, print)
    with pytest.raises(BoardBusy, match="another process is measuring"):
        lock().acquire(0, print)
    second.release()


def test_a_lock_that_cannot_be_is_a_history_error_with_its_path(lock, monkeypatch):
    for code in (errno.EACCES, errno.EROFS, errno.ENOSPC):
        with monkeypatch.context() as patch:
            patch.setattr(run_lock.os, "open", lambda *_: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
            with pytest.raises(HistoryError, match="board.lock"):
                lock().acquire(0, print)
    monkeypatch.setattr(
        run_lock.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks available"))
    )
    with pytest.raises(HistoryError, match="No locks available"):
        lock().acquire(0, print)


def test_a_link_in_the_locks_place_is_not_followed(lock, tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "text3d-bench-board.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(HistoryError):
        lock().acquire(0, print)
    assert (tmp_path / "precious").read_text() == "kept"


# What a resumed measurement is good for.

PRINT = measurement().fingerprint


def wanted(**changes) -> Wanted:
    return Wanted(**({"weights": "embedded", "prompts": 153, "smoke": False, "fingerprint": PRINT} | changes))


def test_a_measurement_that_is_what_this_session_would_make_is_taken():
    assert differences(measurement(), wanted()) == []


@pytest.mark.parametrize(
    ("held", "wants", "words"),
    [
        ({"prompts": 32, "hits": 20, "smoke": True}, {}, "journal has 32 prompts, this session asks for 153"),
        ({"hits": None, "smoke": True}, {}, "journal has 0 prompts, this session asks for 153"),
        ({"status": Status.CRASHED, "smoke": True}, {}, "journal has a smoke run, this session asks for a full run"),
        ({"weights": "random"}, {}, "journal has weights random, this session asks for embedded"),
        ({"protocol": "0"}, {}, "journal has protocol 0, this session has 1"),
        ({"threads": 4}, {}, "journal has threads 4, this session has 1"),
        ({"torch": "2.12.0"}, {}, "journal has torch 2.12.0, this session has 2.13.0"),
        ({"weights_sha256": "c" * 64}, {}, "journal has weights sha256 cccccccccccc, this session has aaaaaaaaaaaa"),
        ({}, {"fingerprint": PRINT.model_copy(update={"power_mode": "MAXN"})}, "this session has MAXN"),
        ({"status": Status.CRASHED, "fingerprint": None}, {}, "journal does not say on what it was measured"),
        ({}, {"fingerprint": "crashed: why"}, "cannot be told (crashed: why)"),
    ],
)
def test_one_that_is_not_is_refused_with_the_reason(held, wants, words):
    (reason,) = differences(measurement(**held), wanted(**wants))
    assert words in reason


def test_a_reference_needs_no_prompts_and_an_unsupported_row_no_fingerprint():
    assert differences(measurement(prompts=32, hits=20, smoke=True), wanted(prompts=None)) == []
    assert differences(measurement(prompts=32, hits=20, threads=2), wanted(prompts=None)) != []
    row = measurement(status=Status.UNSUPPORTED, fingerprint=None)
    assert differences(row, wanted(fingerprint=None, smoke=True, prompts=32)) == []


def test_a_recipe_that_a_worker_found_unsupported_is_not_tried_again_for_the_same_reason():
    row = measurement(status=Status.UNSUPPORTED, reason="it decodes no field", fingerprint=None)
    assert differences(row, wanted(fingerprint="unsupported: it decodes no field")) == []
    for other in ("unsupported: onnx is not installed", "crashed: it decodes no field"):
        (reason,) = differences(row, wanted(fingerprint=other))
        assert f"cannot be told ({other})" in reason


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
        self.full, self._write = False, saving.write_atomically
        monkeypatch.setattr(saving, "write_atomically", self.write)

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


def test_another_tmpdir_does_not_open_the_board_to_a_second_run(tmp_path, monkeypatch):
    """The lock lies beside the history as well."""
    board_folder = tmp_path / "history" / "board"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(run_lock, "shared_folder", lambda: tmp_path / "one")
    first = RunLock("board", board_folder)
    first.acquire(0, print)
    monkeypatch.setattr(run_lock, "shared_folder", lambda: tmp_path / "two")
    second = RunLock("board", board_folder)
    with pytest.raises(BoardBusy, match=f"process {os.getpid()} is measuring"):
        second.acquire(0, print)
    first.release()
    second.acquire(0, print)
    second.release()


def test_the_shared_lock_does_not_follow_tmpdir(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run_lock.shared_folder() == Path("/tmp")


# What a session saves at its end.


def bridge(tmp_path: Path, failed: list[str]) -> SimpleNamespace:
    storage = SimpleNamespace(path=tmp_path)
    session = SimpleNamespace(storage=storage, machine_id="board", logger=SimpleNamespace(info=print))
    benchmark_bridge.save_whole(SimpleNamespace(_benchmarksession=session), failed.append)
    return storage


def test_a_sessions_file_is_there_whole_and_numbered_after_the_others(tmp_path):
    failed: list[str] = []
    for name in ("first", "second"):
        bridge(tmp_path, failed).save({"benchmarks": []}, name)
    assert sorted(p.name for p in (tmp_path / "board").iterdir()) == ["0001_first.json", "0002_second.json"]
    assert failed == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_file_that_cannot_be_saved_is_told_and_leaves_nothing_behind(tmp_path, monkeypatch, code):
    failed: list[str] = []
    monkeypatch.setattr(saving.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    bridge(tmp_path, failed).save({"benchmarks": []}, "run")
    assert len(failed) == 1 and "cannot write" in failed[0] and "0001_run.json" in failed[0]
    assert list((tmp_path / "board").iterdir()) == []


@pytest.mark.parametrize(("finished", "closed"), [(True, True), (False, False)])
def test_a_session_is_interrupted_until_it_has_come_to_its_end(tmp_path, finished, closed):
    """A second Ctrl-C ends pytest before its plugins' last hooks."""
    journal = Journal(tmp_path / "journal" / "s1")
    journal.begin()
    bench = SimpleNamespace(recorder=Recorder(journal), finished=finished)
    config = SimpleNamespace(stash={plugin.BENCH: bench})
    plugin.pytest_unconfigure(config)
    assert journal.closed is closed
