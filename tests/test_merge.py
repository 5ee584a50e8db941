"""Histories put together: idempotent, in any order the same bytes, altered duplicates refused by name."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from leaderboards.__main__ import main
from leaderboards.merge import Altered, merge
from suite.history import read_folder
from tests.factories import measurement, session_file

STEPS = "point-e-nano-text/steps-16@cpu"


@pytest.fixture
def checkouts(tmp_path) -> list[Path]:
    """Three of them: two boards, one session in two places, two files of one name."""
    one, two, three = (tmp_path / name for name in ("desk", "lab", "attic"))
    shared = [measurement(session="s1"), measurement(STEPS, seconds=0.5, session="s1")]
    session_file(one / "laptop/0001_run.json", shared)
    session_file(two / "laptop/0001_run.json", [measurement(session="s2", measured_at="2026-11-24T00:00:00Z")])
    session_file(two / "orin/0001_run.json", [measurement(session="s3", board="orin")])
    session_file(three / "laptop/0007_copy.json", shared)
    session_file(three / "laptop/journal/s9/x.json", [measurement(session="s9")])
    return [one, two, three]


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_in_any_order_and_any_number_of_times_the_bytes_are_the_same(checkouts, tmp_path):
    found = []
    for number, order in enumerate(permutations(checkouts)):
        into = tmp_path / f"into-{number}"
        for folder in order:  # one after the other, and then all again
            merge([folder], into)
        merge(order, into)
        found.append(contents(into))
    assert all(one == found[0] for one in found)
    assert len(read_folder(tmp_path / "into-0").measurements) == 4
    assert read_folder(tmp_path / "into-0").problems == []


def test_where_each_came_from_is_kept(checkouts, tmp_path):
    written = merge(checkouts, tmp_path / "into")
    lines = (tmp_path / "into/laptop/origins.tsv").read_text().splitlines()
    origins = {tuple(line.split("\t")) for line in lines}
    (shared,) = [p.name for p in written if p.name.startswith("s1-")]
    assert {(shared, "desk"), (shared, "attic")} <= origins and len(origins) == 3


def test_an_altered_duplicate_is_refused_by_name_and_nothing_is_written(checkouts, tmp_path, capsys):
    session_file(checkouts[2] / "laptop/0008_altered.json", [measurement(session="s1", seconds=1.0)])
    with pytest.raises(Altered, match="0008_altered.json.*of session s1 is not as in .*0001_run.json"):
        merge(checkouts, tmp_path / "into")
    assert main(["merge", *map(str, checkouts), "--into", str(tmp_path / "into")]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("text", ["{", json.dumps({"benchmarks": [], "cells": [{"device": "../x"}]}), "[" * 100_000])
def test_a_file_that_is_no_sessions_is_named(checkouts, tmp_path, capsys, text):
    (checkouts[0] / "laptop/0002_bad.json").write_text(text)
    assert main(["merge", *map(str, checkouts), "--into", str(tmp_path / "into")]) == 2
    assert "0002_bad.json" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "absent"), "--into", str(tmp_path / "into")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_file_that_is_there_already_keeps_its_name(checkouts, tmp_path):
    into = tmp_path / "into"
    session_file(
        into / "laptop/0001_kept.json", [measurement(session="s1"), measurement(STEPS, seconds=0.5, session="s1")]
    )
    names = {path.name for path in merge(checkouts, into)}
    assert "0001_kept.json" in names and len(names) == 3
    assert len(list((into / "laptop").glob("*.json"))) == 2


def test_a_history_that_was_merged_is_published(checkouts, tmp_path, capsys):
    assert main(["merge", *map(str, checkouts), "--into", str(tmp_path / "into")]) == 0
    assert "3 sessions of 2 boards" in capsys.readouterr().out
    assert main(["frontier", "--history", str(tmp_path / "into"), "--device", "cpu"]) == 0
