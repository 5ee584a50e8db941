"""What a field of a record may hold, and that no file of others stops a command or leads a table."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from leaderboards.__main__ import main
from suite.history import latest, read_folder
from suite.records import Measurement
from tests.factories import measurement, session_file

ROOT = Path(__file__).parents[1]
STEPS = "point-e-nano-text/steps-16@cpu"


def changed(**fields) -> dict:
    """A measurement's JSON with fields changed, named by their path with double underscores."""
    record = json.loads(measurement(reference_s=2.0).model_dump_json())
    for path, value in fields.items():
        place, *names = path.split("__")
        at = record
        for name in names:
            at, place = at[place], name
        at[place] = value
    return record


def problem_of(tmp_path: Path, record: dict) -> str:
    """What is said of a file with this cell beside a good one, which is read."""
    good = measurement(STEPS, measured_at="2026-11-24T00:00:00Z")
    session_file(tmp_path / "laptop/0001_good.json", [good])
    text = json.dumps({"benchmarks": [], "cells": [record]})
    (tmp_path / "laptop/0002_bad.json").write_text(text, encoding="utf-8")
    history = read_folder(tmp_path)
    assert history.measurements == [good]
    (problem,) = history.problems
    assert "0002_bad.json" in problem and "\n" not in problem
    problem.encode()
    return problem


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("device", name) for name in ("../README", "/etc/x", "..", ".", "a/b", "a\0b", "", "a" * 200, "\udcff")),
        ("board", "../up"),
        ("session", "../../x"),
        ("model", "a/b"),
        ("optimization", "../w3"),
        *(("speedup_vs_original", {"value": value}) for value in (-1.0, 0.0, 1e10)),
        *((name, "x" * 401) for name in ("commit", "weights", "protocol", "quality__judge")),
        *(
            (f"fingerprint__{name}", "x" * 401)
            for name in ("chip", "driver", "clocks", "power_mode", "torch", "python")
        ),
        ("configuration", "../a/b@c"),
        *(("measured_at", text) for text in ("yesterday", "2026-03-01T00:00:00", "1970-01-01T00:03:17+00:00", 5)),
        ("measured_at", "2999-01-01T00:00:00+00:00"),
        *(("memory__peak_memory_bytes", value) for value in (0, -5_000_000, 10**400, 2**60)),
        ("memory__process_peak_memory_bytes", 0),
        *(("latency__median__value", value) for value in (0, -1.0, 0.001, 1e308, 1e-9)),
        ("latency__samples_s", [2.0, -2.0]),
        ("latency__samples_s", [1e-9]),
        ("latency__samples_s", []),
        ("quality__r_precision__value", 2.5),
        ("quality__r_precision__high", 9.0),
        ("quality__r_precision_3001__low", -0.2),
        ("reference__latency__value", 0.0),
        ("canary_s", 0.0),
        ("parameters", -1),
        ("fingerprint__threads", 0),
    ],
)
def test_a_value_that_no_measurement_can_have_is_refused_by_file_and_field(tmp_path, field, value):
    problem = problem_of(tmp_path, changed(**{field: value}))
    assert field.split("__")[0] in problem


@pytest.mark.parametrize(
    "text", ["[" * 200_000 + "]" * 200_000, '{"a":' * 100_000, "\0" * 1000, '"\\ud800"', "1" * 5000]
)
def test_a_hostile_file_is_reported_and_the_others_are_read(tmp_path, capsys, text):
    session_file(tmp_path / "laptop/0001_good.json", [measurement()])
    (tmp_path / "laptop/0002_deep.json").write_text(text)
    assert main(["frontier", "--history", str(tmp_path), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "0002_deep.json" in said.err and "point-e-nano-text/fp32" in said.out
    assert main(["publish", "--history", str(tmp_path), "--output", str(tmp_path / "out")]) == 0


def test_no_name_of_a_file_leaves_the_folder_that_is_written_to(tmp_path, capsys):
    outside = tmp_path / "README.md"
    outside.write_text("mine")
    session_file(tmp_path / "history/laptop/0001_good.json", [measurement()])
    bad = tmp_path / "history/laptop/0002_bad.json"
    bad.write_text(json.dumps({"benchmarks": [], "cells": [changed(device="../README")]}))
    assert main(["publish", "--history", str(tmp_path / "history"), "--output", str(tmp_path / "published")]) == 0
    assert main(["keep", str(bad), "--history", str(tmp_path / "kept")]) == 2
    assert outside.read_text() == "mine" and not (tmp_path / "kept").exists()
    assert "device" in capsys.readouterr().err


def test_a_file_of_a_newer_version_is_not_kept(tmp_path, capsys):
    newer = tmp_path / "0001_x.json"
    newer.write_text(json.dumps({"benchmarks": [], "cells": [changed(schema_version=2)]}))
    assert main(["keep", str(newer), "--history", str(tmp_path / "kept")]) == 2
    assert "written by a newer text3d-bench" in capsys.readouterr().err


# Times.


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-27T09:30:00+09:00", "2026-11-27T00:30:00.000+00:00"),
        ("2026-11-27T03:00:00Z", "2026-11-27T03:00:00.000+00:00"),
        ("2026-11-27T03:00:00.123+00:00", "2026-11-27T03:00:00.123+00:00"),
    ],
)
def test_a_time_of_any_zone_is_one_wording_in_utc(text, utc):
    assert measurement(measured_at=text).measured_at == utc


def test_the_newest_is_told_by_the_time_and_not_by_its_text(tmp_path):
    older = measurement(seconds=9.0, session="a", measured_at="2026-11-27T09:30:00+09:00")
    newer = measurement(seconds=1.0, session="b", measured_at="2026-11-27T03:00:00+00:00")
    session_file(tmp_path / "laptop/0001_x.json", [newer, older])
    assert [m.session for m in latest(read_folder(tmp_path).measurements)] == ["b"]


def test_a_row_dated_ahead_is_read_with_a_warning(tmp_path):
    ahead = (datetime.now(timezone.utc) + timedelta(days=40)).isoformat()
    session_file(tmp_path / "laptop/0001_x.json", [measurement(measured_at=ahead)])
    history = read_folder(tmp_path)
    assert len(history.measurements) == 1 and "still to come" in history.problems[0]


def test_an_altered_copy_of_a_measurement_is_named_and_does_not_win_in_silence(tmp_path):
    session_file(tmp_path / "laptop/0001_x.json", [measurement(seconds=2.0)])
    session_file(tmp_path / "laptop/0002_copy.json", [measurement(seconds=1.0)])
    history = read_folder(tmp_path)
    assert [m.latency.median.value for m in history.measurements] == [2.0]
    assert "0002_copy.json" in history.problems[0] and "is not as in" in history.problems[0]


def test_a_reason_that_cannot_be_encoded_is_cleaned_where_it_is_made():
    made = Measurement.model_validate(changed(status="crashed", reason="bad \udcff name", latency=None))
    assert made.reason == "bad ? name"
    made.model_dump_json().encode()


# Commands.


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "suite.weights", "list"],
        ["-m", "leaderboards", "frontier"],
        ["-m", "suite.budgets", "propose", "--device", "cpu", "--print"],
    ],
)
def test_a_reader_that_has_seen_enough_is_no_error(command):
    reader = subprocess.Popen(["head", "-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, timeout=120
    )
    reader.communicate()
    assert (run.returncode, run.stderr) == (0, "")


def test_a_number_with_its_unit_is_answered_with_the_unit_that_is_meant(capsys):
    with pytest.raises(SystemExit):
        main(["frontier", "--max-memory-gb", "8GB"])
    assert "expected a number of GB above 0, such as 2.5, got '8GB'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nonsense", "q" * 5000, "a/b@c", "point-e-nano-text/nonsense@cpu", "\udcff/fp32@cpu"])
def test_an_unknown_configuration_is_answered_in_a_line_that_is_read(name):
    command = [sys.executable, "-m", "suite.generate", "a red cube", "--configuration", name.encode(errors="replace")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert run.returncode == 2 and 0 < len(run.stderr) < 500
