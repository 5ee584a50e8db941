"""`python -m benchmarks.judging` and `benchmarks.causes`: they read any file of nights, and refuse what is none."""

from __future__ import annotations

import csv
import gzip
import sys

import numpy as np
import pytest

from benchmarks import events_here
from benchmarks.causes import main as causes
from benchmarks.judging import main, quiet_windows, read_series, with_step
from benchmarks.peers import first_alarm

COLUMNS = ["series", "project", "kind", "unit", "measured_at", "commit", "value"]


def write(path, series: dict[tuple[str, str], list[float]]):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for (name, kind), values in series.items():
            for n, value in enumerate(values):
                rows.writerow([name, "project", kind, "s", f"2026-01-01T00:00:{n % 60:02}Z", "abc", value])
    return path


def steady(seed: int) -> list[float]:
    return np.exp(np.random.default_rng(seed).normal(0, 0.02, 100)).tolist()


def test_a_file_of_nights_becomes_a_table(tmp_path, capsys):
    series = {(f"s{n}", "latency" if n % 2 else "throughput"): steady(n) for n in range(20)}
    path = write(tmp_path / "nights.csv.gz", series)
    assert main(["--series", str(path), "--only", "ours: odds of a step", "--month", "20"]) == 0
    said = capsys.readouterr().out
    assert "20 series, 2000 nights" in said
    assert "| 1–3 % |" in said
    assert "20 series: " in said and "false reds a month" in said


def test_a_higher_throughput_is_better_and_a_higher_latency_worse(tmp_path):
    path = write(tmp_path / "nights.csv", {("a", "latency"): [1.0, 2.0], ("b", "throughput"): [1.0, 2.0]})
    series = read_series(path)
    assert series["a"][1] > series["a"][0]
    assert series["b"][1] < series["b"][0]


def test_windows_are_classed_by_their_noise_and_a_step_is_never_quiet(tmp_path):
    nights = np.log(steady(3))[:61]
    assert not any(quiet_windows({"stepped": with_step(nights, 0.2)}).values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("series,kind\na,latency\n", "no column value"),
        ("series,kind,value\na,latency,\n", "line 2: value: expected a number above 0, got ''"),
        ("series,kind,value\na,latency,-1\n", "line 2: value: expected a number above 0, got '-1'"),
        ("series,kind,value\na,latency,nan\n", "line 2: value: expected a number above 0, got 'nan'"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path, capsys, text, says):
    path = tmp_path / "nights.csv"
    path.write_text(text)
    assert main(["--series", str(path)]) == 2
    assert f"{path}: {says}" in capsys.readouterr().err


def test_a_file_that_is_not_there_or_cut_off_is_refused(tmp_path, capsys):
    assert main(["--series", str(tmp_path / "none.csv")]) == 2
    cut = write(tmp_path / "cut.csv.gz", {("a", "latency"): steady(0)})
    cut.write_bytes(cut.read_bytes()[:200])
    assert main(["--series", str(cut)]) == 2
    assert str(cut) in capsys.readouterr().err


def test_a_python_without_the_peers_is_said(tmp_path, capsys):
    path = write(tmp_path / "nights.csv", {("a", "latency"): steady(0)})
    assert main(["--series", str(path), "--only", "conbench z 5", "--peers", sys.executable]) == 2
    assert "No module named" in capsys.readouterr().err


def test_the_peers_are_asked_night_by_night():
    assert first_alarm(lambda values: len(values) >= 33, [0.0] * 40, 30) == 3
    assert first_alarm(lambda values: False, [0.0] * 40, 30) is None


def test_of_staged_events_nine_of_ten_causes_are_named_right(capsys):
    assert causes(["--events", "20", "--seed", "4"]) == 0
    right = int(capsys.readouterr().out.splitlines()[-1].split()[1])
    assert right >= 18


@pytest.mark.parametrize(
    ("kind", "cell", "told", "expected"),
    [
        ("code", "a", [("a", "latency_s", "code"), ("b", "peak_memory_bytes", "noise")], True),
        ("code", "a", [("a", "latency_s", "code"), ("b", "latency_s", "noise")], True),
        ("code", "a", [("a", "latency_s", "code"), ("b", "latency_s", "code")], False),
        ("code", "a", [("b", "latency_s", "noise")], False),
        ("code", "a", [("b", "peak_memory_bytes", "code")], False),
        ("code", "a", [], False),
        ("clock cap", None, [("a", "status", "machine"), ("b", "latency_s", "machine")], True),
        ("clock cap", None, [("a", "latency_s", "machine"), ("b", "latency_s", "noise")], False),
    ],
)
def test_an_event_is_right_where_all_that_is_told_names_its_cells_and_cause(kind, cell, told, expected):
    row = {
        "kind": kind,
        "cell": cell,
        "told": [[c, quantity, "regressed", "step", cause] for c, quantity, cause in told],
    }
    assert events_here.right(row) is expected
    assert events_here.table([row]).endswith(f"| {events_here.EXPECTED[kind]} | {int(expected)} | 1 |")


def test_where_no_control_group_can_be_made_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(events_here, "CPU_GROUPS", tmp_path / "none")
    with pytest.raises(events_here.NoQuota, match="none"):
        with events_here.quota(0.5):
            pass
