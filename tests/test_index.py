"""The index answers as the files do, whatever happens to them, to it, or to the folder that it lies in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks import synthetic
from leaderboards import publish as publishing
from leaderboards.publish import publish, read_board
from suite import history
from suite.history import COMMITTED, History, HistoryError, read_folder
from suite.index import making, reading
from suite.index.kept import Kept
from suite.index.reading import index_file, read_indexed
from suite.judging.latency_units import relative_latency
from suite.records import SCHEMA_VERSION, Interval, Status
from suite.saving import Journal
from tests.factories import measurement, session_file

LONG_AGO = 1_700_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "index"
    monkeypatch.setenv(reading.VARIABLE, str(folder))
    return folder


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder with what a history may hold: whole sessions, a journal that its session repeats, damaged and newer
    files and cells, a copy under another name, and one that tells another story of the same run."""
    folder = tmp_path / "runs"
    board = folder / "laptop"
    for night in range(4):
        cells = [
            measurement(session=f"night-{night}", measured_at=f"2026-11-2{night}T04:00:00Z", reference_s=2.0),
            measurement(
                "point-e-nano-text/steps-16@cpu",
                session=f"night-{night}",
                measured_at=f"2026-11-2{night}T04:05:00Z",
                seconds=0.5 + night / 100,
                hits=range(night, 130),
                reference_s=2.0,
            ),
            measurement(
                "shap-e-nano-text/fp32@cpu",
                session=f"night-{night}",
                measured_at=f"2026-11-2{night}T04:10:00Z",
                status=Status.CRASHED if night == 3 else Status.OK,
            ),
        ]
        pairs = {"latency_ratio": Interval(value=0.25 + night / 200, low=0.24, high=0.28)}
        cells[1] = cells[1].model_copy(update={"reference": cells[1].reference.model_copy(update=pairs)})
        session_file(board / f"000{night}_night.json", cells)
    journal = Journal(board / "journal" / "night-0")
    journal.begin()
    journal.write("fp32", measurement(session="night-0", measured_at="2026-11-20T04:00:00Z", reference_s=2.0))
    shutil.copy(board / "0001_night.json", board / "0005_copy.json")
    session_file(board / "0006_other.json", [measurement(session="night-1", measured_at="2026-11-21T04:00:00Z")])
    (board / "0007_half.json").write_text('{"benchmarks": [], "cells": [{"configu')
    (board / "0008_deep.json").write_text("[" * 100_000 + "]" * 100_000)
    (board / "0009_latin.json").write_bytes(b'{"benchmarks": "\xff"}')
    newer = measurement(session="night-9").model_dump(mode="json") | {"schema_version": SCHEMA_VERSION + 1}
    (board / "0010_newer.json").write_text(json.dumps({"benchmarks": [], "cells": [newer]}))
    good, bad = (measurement(session=f"mixed-{n}").model_dump(mode="json") for n in range(2))
    bad["memory"]["peak_memory_bytes"] = -5
    machine = {"session": "mixed-0", "board": "laptop", "runs": []}
    content = {"benchmarks": [], "cells": [good, bad, 7], "session_machine": machine}
    (board / "0011_mixed.json").write_text(json.dumps(content))
    session_file(board / "0012_ahead.json", [measurement(session="ahead", measured_at="2098-01-01T00:00:00Z")])
    return settled(folder)


def settled(folder: Path) -> Path:
    """Its files are as they have been for long."""
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def indexed(folder: Path, **options) -> History:
    return read_indexed(folder, set_aside=False, worth_bytes=0, **options)


def same(folder: Path) -> History:
    """What the index says, held against what the files do."""
    found, expected = indexed(folder), read_folder(folder, set_aside=False)
    assert found.measurements == expected.measurements and expected.measurements == found.measurements
    assert found.problems == expected.problems
    assert found.machines == expected.machines
    return found


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that are read, as they are."""
    found: list[Path] = []
    contents_of = making.contents_of
    monkeypatch.setattr(making, "contents_of", lambda path: found.append(path) or contents_of(path))
    return found


def test_the_answer_is_that_of_the_files_the_first_time_and_every_time(files, reads):
    for times in range(3):
        found = same(files)
        assert reads == (history.history_files(files) if times == 0 else []), "settled files are read once"
        reads.clear()
    assert len(found.measurements) == 14 and len(found.problems) == 9
    assert all(isinstance(m, Kept) for m in found.measurements)


def test_the_committed_history_is_the_same_through_the_index(tmp_path):
    folder = settled(Path(shutil.copytree(COMMITTED, tmp_path / "committed")))
    same(folder)
    found, expected = same(folder), read_folder(folder, set_aside=False)
    for kept, m in zip(found.measurements, expected.measurements):
        assert isinstance(kept, Kept)
        for name in type(m).model_fields:
            value = getattr(kept, name)
            assert (value.whole if isinstance(value, Kept) else value) == getattr(m, name), name
        assert relative_latency(kept) == relative_latency(m)
        if m.latency:
            assert kept.latency.median == m.latency.median and kept.latency.samples_s == m.latency.samples_s
        if m.quality:
            q = kept.quality
            assert (q.prompts, q.hits_id, q.outcomes) == (m.quality.prompts, m.quality.hits_id, m.quality.outcomes)


@pytest.mark.parametrize("program", [sys.executable, "/bin/false", "/no/such/program"])
def test_processes_that_help_or_cannot_leave_the_same_index(files, monkeypatch, reads, program):
    same(files)
    path, every, helped = index_file(files), len(reads), program == sys.executable
    alone = path.read_bytes()
    path.unlink()
    reads.clear()
    monkeypatch.setattr(making, "_processes", lambda size: 3)
    monkeypatch.setattr(making.sys, "executable", program)
    same(files)
    assert path.read_bytes() == alone
    assert len(reads) < every if helped else len(reads) == every


def test_a_file_that_a_helper_finds_too_young_is_read_again(files, monkeypatch, reads):
    monkeypatch.setattr(making, "_processes", lambda size: 2)
    young, done = history.history_files(files)[-1], threading.Event()

    def keep_young() -> None:  # a helper may need longer to begin than a file is young
        while not done.wait(0.05):
            young.touch()

    young.touch()
    touching = threading.Thread(target=keep_young)
    touching.start()
    try:
        for _ in range(2):
            reads.clear()
            same(files)
            assert young in reads
    finally:
        done.set()
        touching.join()


def test_files_are_shared_out_by_their_size():
    stats = {name: (size, 0, 0) for name, size in zip("abcdef", (50, 10, 10, 10, 10, 10))}
    assert [list(share) for share in making.shared_out(stats, 2)] == [["a"], ["b", "c", "d", "e", "f"]]
    assert [list(share) for share in making.shared_out({}, 2)] == [[], []]


@pytest.mark.parametrize("times", [1, 2])
def test_tables_are_the_same_bytes_with_and_without_the_index(files, tmp_path, monkeypatch, times):
    for _ in range(times):
        with_index = _tables(files, tmp_path / "with", lambda folder: indexed(folder), monkeypatch)
    assert with_index == _tables(
        files, tmp_path / "without", lambda folder: read_folder(folder, set_aside=False), monkeypatch
    )


def _tables(folder: Path, output: Path, read, monkeypatch) -> dict[str, bytes]:
    monkeypatch.setattr(publishing, "read_indexed", read)
    return {path.name: path.read_bytes() for path in publish(read_board([folder]), output)}


def test_only_the_changed_file_is_read_again(files, reads):
    same(files)
    reads.clear()
    changed = files / "laptop" / "0002_night.json"
    session_file(changed, [measurement(session="night-2", measured_at="2026-11-22T04:00:00Z", seconds=9.0)])
    added = session_file(files / "laptop" / "0013_new.json", [measurement(session="new")])
    (files / "laptop" / "0003_night.json").unlink()
    settled(files)
    found = same(files)
    assert sorted(reads) == sorted([changed, added])
    assert {"new", "night-2"} <= {m.session for m in found.measurements if m.latency.median.value in (2.0, 9.0)}


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_noticed(files, reads):
    same(files)
    path = files / "laptop" / "0001_night.json"
    text = path.read_text()
    replaced = text.replace("2026-11-21T04:05", "2026-11-21T04:06")
    assert len(replaced) == len(text) and replaced != text
    other = path.with_name("other")
    other.write_text(replaced)
    os.replace(other, path)
    settled(files)
    reads.clear()
    same(files)
    assert reads == [path]


def test_a_file_that_was_just_written_is_not_trusted_yet(files, reads):
    path = session_file(files / "laptop" / "0013_new.json", [measurement(session="new")])
    for _ in range(2):
        assert "new" in {m.session for m in same(files).measurements}
    assert reads.count(path) == 2


def test_what_cannot_be_reached_just_now_is_tried_again(files, monkeypatch):
    path = files / "laptop" / "0001_night.json"
    reading_text = Path.read_text

    def fail(self, *arguments, **options):
        if self == path:
            raise OSError(5, "Input/output error")
        return reading_text(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        assert any("Input/output error" in problem for problem in same(files).problems)
    assert not any("Input/output error" in problem for problem in same(files).problems)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "version", "folder"])
def test_a_damaged_index_is_made_anew(files, reads, damage):
    same(files)
    path = index_file(files)
    whole = path.read_bytes()
    if damage == "flipped":  # a page of it, not its footer
        path.write_bytes(whole[:200] + bytes(255 - byte for byte in whole[200:260]) + whole[260:])
    elif damage == "version":
        table = reading.parquet.read_table(path)
        about = json.loads(table.schema.metadata[b"files"]) | {"version": "older"}
        reading.parquet.write_table(table.replace_schema_metadata({"files": json.dumps(about)}), path)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "text": b"no index", "cut": whole[: len(whole) // 2]}[damage])
    reads.clear()
    same(files)
    assert len(reads) > 10
    if damage != "folder":
        reads.clear()
        same(files)
        assert not reads


def test_deleted_it_is_made_again_identically(files):
    same(files)
    path = index_file(files)
    before = path.read_bytes()
    path.unlink()
    same(files)
    assert path.read_bytes() == before


def test_where_it_cannot_be_kept_every_file_is_read(files, reads, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(reading.VARIABLE, str(tmp_path / "file" / "index"))  # below a file: for root, too
    for _ in range(2):
        same(files)
    assert len(reads) == 2 * len(set(reads))


def test_a_user_without_a_home_reads_every_file(files, reads, monkeypatch):
    monkeypatch.setenv(reading.VARIABLE, "~nobody-of-that-name/index")
    for _ in range(2):
        same(files)
    assert len(reads) == 2 * len(set(reads))


def test_nothing_of_it_lies_in_the_history(files, cache):
    before = sorted(files.rglob("*"))
    same(files)
    assert sorted(files.rglob("*")) == before and [index_file(files)] == list(cache.iterdir())


def test_a_small_history_is_read_as_it_is(files, cache):
    assert read_indexed(files, set_aside=False).measurements == read_folder(files, set_aside=False).measurements
    assert not cache.exists()


def test_two_processes_may_make_it_at_once(files):
    # Twice the same bytes in one folder, and no other file: neither fell over the other's.
    code = (
        "import sys; from pathlib import Path; from suite.index.reading import read_indexed;"
        "print(len(read_indexed(Path(sys.argv[1]), set_aside=False, worth_bytes=0).measurements))"
    )
    command = [sys.executable, "-c", code, str(files)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=history.ROOT) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in running] == ["14\n", "14\n"]
    assert list(index_file(files).parent.iterdir()) == [index_file(files)]
    same(files)


def test_broken_files_of_ours_are_set_aside_through_the_index_too(files, monkeypatch):
    monkeypatch.setattr(history, "LOCAL", files)
    looked = indexed(files)  # only looks, and knows of them from now on
    assert any("0007_half.json" in problem and problem.endswith("; not read") for problem in looked.problems)
    told = read_indexed(files, worth_bytes=0).problems
    assert any("0007_half.json" in problem and "; moved to" in problem for problem in told)
    assert (files / "quarantine" / "laptop" / "0007_half.json").exists()
    same(files)


@pytest.mark.parametrize("now", [None, "[]", "{", '{"benchmarks": [], "cells": [7]}', "gone"])
def test_a_file_that_changed_while_it_was_looked_at_is_said(files, now):
    kept = [m for m in indexed(files).measurements if m.session == "night-2"]
    path = files / "laptop" / "0002_night.json"
    if now is None:
        session_file(path, [measurement(session="other")])
    elif now == "gone":
        path.unlink()
    else:
        path.write_text(now)
    assert kept[0].latency.median.value == 2.0  # at hand
    with pytest.raises(HistoryError, match="0002_night.json: changed while it was looked at"):
        _ = kept[0].latency.samples_s


def test_of_a_long_history_few_files_are_read_again(tmp_path, monkeypatch):
    """Tables of 40 nights need the newest one's records, and its references'."""
    folder = tmp_path / "runs"
    for night in range(40):
        own = {"session": f"n{night:02}", "measured_at": f"2026-10-01T{night // 2:02}:{30 * (night % 2):02}:00Z"}
        cells = [measurement(**own), measurement("point-e-nano-text/steps-16@cpu", reference_s=2.0, **own)]
        session_file(folder / "laptop" / f"{night:04}_n.json", cells)
    settled(folder)
    indexed(folder)
    opened: list[Path] = []
    from suite.index import kept

    data_of = kept.data_of
    monkeypatch.setattr(kept, "data_of", lambda path: opened.append(path) or data_of(path))
    monkeypatch.setattr(publishing, "read_indexed", lambda folder: indexed(folder))
    board = read_board([folder])
    assert len(board.measurements) == 80 and len(board.rows["cpu"]) >= 2
    assert opened == [folder / "laptop" / "0039_n.json"]


def test_the_synthetic_history_reads_as_a_real_one_and_is_the_same_each_time(tmp_path):
    first, second = ([*synthetic.write(tmp_path / name, 12, 3, prompts=4)] for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    found = read_folder(tmp_path / "first", set_aside=False)
    assert len(found.measurements) == 12 and found.problems == []
    assert {m.quality.prompts for m in found.measurements} == {4}
    assert len({m.session for m in found.measurements}) == 3
