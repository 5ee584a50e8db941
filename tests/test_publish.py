"""`python -m leaderboards`, run for real on histories made here."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from leaderboards.__main__ import main
from leaderboards.rows import load_published
from suite.records import PublishedRow, Status
from tests.factories import measurement, session_file

ROOT = Path(__file__).parents[1]
NANO = "point-e-nano-text"


def leaderboards(*arguments: object) -> subprocess.CompletedProcess:
    """As `python -m leaderboards`, in this process: one has to begin by itself, and `published` does."""
    command, said, told = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            code = main(command)
        except SystemExit as end:  # by argparse
            code = end.code
    return subprocess.CompletedProcess(command, code, said.getvalue(), told.getvalue())


def matrix() -> list:
    """One board's runs: two on the frontier, one beaten, one simulated, one crashed."""
    return [
        measurement(reference_s=2.0),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=126, reference_s=2.0),
        measurement(f"{NANO}/bf16@cpu", seconds=3.0, hits=125, reference_s=2.0),
        measurement(f"{NANO}/w3@cpu", hits=70),
        measurement(f"{NANO}/int8-all@cpu", status=Status.CRASHED, reason="a | b\nsecond line"),
    ]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    session_file(tmp_path / "history" / "laptop" / "0001_first.json", matrix())
    return tmp_path / "history"


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    """One real run of `publish` on the matrix, and the folder it wrote."""
    folder = tmp_path_factory.mktemp("published")
    session_file(folder / "history" / "laptop" / "0001_first.json", matrix())
    command = [sys.executable, "-m", "leaderboards", "publish"]
    command += ["--history", str(folder / "history"), "--output", str(folder / "out")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False)
    return run, folder / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_publish_writes_every_device_and_prints_the_frontier(published):
    run, folder = published
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    devices = ("cpu", "t4", "orin", "v100")
    expected = {f"{device}.{ending}" for device in devices for ending in ("md", "csv", "json")}
    assert set(contents(folder)) == expected | {"README.md", "reproduction.md"}
    assert "cpu, board laptop, embedded prompts: 2 on the frontier, 1 beaten, 1 failed" in run.stdout
    assert f'pytest "suite/test_configurations.py::test_configuration[{NANO}/steps-16@cpu]"' in run.stdout
    rows = [row for row in load_published(folder) if row.source == "measured"]
    assert {row.optimization: row.on_frontier for row in rows} == {
        "fp32": True,
        "bf16": False,
        "int8-all": None,
        "w3": None,
        "steps-16": True,
    }


def test_the_json_is_a_plain_list_with_every_field_and_null_for_what_is_not_known(published):
    _, folder = published
    items = json.loads((folder / "cpu.json").read_text())
    assert isinstance(items, list)
    assert all(list(item) == list(PublishedRow.model_fields) for item in items)
    crashed = next(item for item in items if item["optimization"] == "int8-all")
    assert crashed["latency_s"] is crashed["peak_memory_bytes"] is crashed["r_precision"] is None
    with open(folder / "cpu.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["configuration"] for line in table] == [item["configuration"] for item in items]
    line = next(line for line in table if line["optimization"] == "int8-all")
    assert line["latency_s"] == line["peak_memory_bytes"] == line["r_precision"] == line["on_frontier"] == ""
    reference = next(line for line in table if line["optimization"] == "fp32" and line["source"] == "measured")
    assert float(reference["r_precision"]) == pytest.approx(130 / 153)  # a fraction, unrounded


def test_the_markdown_says_what_a_reader_needs(published):
    _, folder = published
    page = (folder / "cpu.md").read_text()
    for text in (
        "## Board laptop, embedded prompts",
        "chip Test chip",
        "threads 1",
        "protocol 1",
        "153 prompts scored",
        "85.0 % (78.5 to 89.8)",
        "simulated arithmetic: no latency",
        "2026-11-23",
        "01234567",
        "## Published by others",
        "doi:10.1145/3609395.3610594",
        "×4.00",
    ):
        assert text in page, text
    lines = page.splitlines()
    starred = [line for line in lines if line.startswith("| ★ |")]
    assert [NANO in line for line in starred] == [True, True]
    simulated = next(line for line in lines if f"{NANO}/w3@cpu" in line)
    assert simulated.split("|")[3].strip() == "–"
    failed = next(line for line in lines if f"{NANO}/int8-all@cpu" in line)
    assert "| crashed | a \\| b second line |" in failed
    measured_part, published_part = page.split("## Published by others")
    assert "/original@cpu" not in measured_part
    assert "★" not in published_part
    index = (folder / "README.md").read_text()
    assert "| [cpu](cpu.md) | 4 | 2 | 1 | 2 | 2026-11-23 |" in index


def test_publishing_twice_gives_identical_bytes(history, tmp_path):
    for name in ("one", "two"):
        leaderboards("publish", "--history", history, "--output", tmp_path / name)
    leaderboards("publish", "--history", history, "--output", tmp_path / "one")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not [name for name in contents(tmp_path / "one") if name.endswith(".tmp")]


def test_a_corrupted_history_file_is_reported_and_the_rest_published(history, tmp_path):
    broken = history / "laptop" / "0002_broken.json"
    broken.write_text('{"benchmarks": [')
    run = leaderboards("publish", "--history", history, "--output", tmp_path / "out")
    assert run.returncode == 0
    assert "0002_broken.json" in run.stderr and "left where it is" in run.stderr
    assert broken.exists()  # a folder that the user names is not ours to tidy
    assert len([row for row in load_published(tmp_path / "out") if row.source == "measured"]) == 5


def test_a_smoke_run_replaces_no_full_one(history, tmp_path):
    late = measurement(hits=5, prompts=32, smoke=True, session="second", measured_at="2026-12-01T00:00:00Z")
    session_file(history / "laptop" / "0002_smoke.json", [late])
    leaderboards("publish", "--history", history, "--output", tmp_path / "out")
    (row,) = [r for r in load_published(tmp_path / "out") if r.configuration == f"{NANO}/fp32@cpu"]
    assert (row.smoke, row.prompts) == (False, 153)


def test_what_fails_quality_and_smoke_runs_beside_full_ones_are_named_and_not_ranked(history, tmp_path, capsys):
    late = [
        measurement(f"{NANO}/steps-4@cpu", seconds=0.1, hits=0, session="second"),
        measurement(f"{NANO}/steps-8@cpu", seconds=0.2, hits=8, prompts=8, smoke=True, session="second"),
    ]
    session_file(history / "laptop" / "0002_bench.json", late)
    assert main(["publish", "--history", str(history), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "embedded prompts: 2 on the frontier, 1 beaten, 1 failed" in said
    chance, few = (
        "failed quality: no better than chance (1 in 153)",
        "too few prompts: smoke runs are ranked only among",
    )
    assert f"not ranked, {chance}: {NANO}/steps-4\n" in said
    assert f"not ranked, {few}" in said and said.partition(few)[2].partition("\n")[0].endswith(f": {NANO}/steps-8")
    page = (tmp_path / "out" / "cpu.md").read_text()
    lines = {
        name: next(line for line in page.splitlines() if f"{NANO}/{name}@cpu" in line)
        for name in ("steps-4", "steps-8")
    }
    assert f"not ranked: {chance}" in lines["steps-4"] and lines["steps-4"].startswith("| – |")
    assert f"smoke run; 8 prompts; not ranked: {few}" in lines["steps-8"] and lines["steps-8"].startswith("| – |")
    assert "| [cpu](cpu.md) | 6 | 2 | 1 | 2 | 2026-11-23 |" in (tmp_path / "out" / "README.md").read_text()
    # They would be the only ones to fit.
    assert main(["frontier", "--history", str(history), "--device", "cpu", "--max-latency-s", "0.3"]) == 0
    said = capsys.readouterr().out
    assert "none of 3 ranked rows fits" in said and f"nearest miss: {NANO}/steps-16@cpu" in said
    assert "steps-4" not in said and "steps-8" not in said


def test_where_nothing_can_be_ranked_the_reasons_are_counted(tmp_path, capsys):
    made = [
        measurement(f"{NANO}/steps-4@cpu", hits=0),
        measurement(f"{NANO}/steps-2@cpu", hits=1),
        measurement(f"{NANO}/w3@cpu", hits=70),
        measurement(f"{NANO}/bf16@cpu", hits=None),
        measurement(f"{NANO}/steps-8@cpu", status=Status.CRASHED),
    ]
    session_file(tmp_path / "laptop" / "0001.json", made)
    assert main(["frontier", "--history", str(tmp_path), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("cpu: no ranked rows (5 measured: ")
    for reason in (
        "2 failed quality: no better than chance (1 in 153)",
        "1 simulated",
        "1 no r_precision",
        "1 status crashed",
    ):
        assert reason in said


def test_tables_of_a_device_without_rows_go_away_but_other_files_stay(tmp_path):
    history = tmp_path / "history"
    session_file(history / "server" / "0001.json", [measurement(f"{NANO}/fp32@h100", board="server")])
    empty = tmp_path / "empty"
    empty.mkdir()
    output = tmp_path / "out"
    leaderboards("publish", "--history", history, "--output", output)
    (output / "mine.md").write_text("# not written by publish")
    assert (output / "h100.json").exists()
    leaderboards("publish", "--history", empty, "--output", output)
    assert not list(output.glob("h100.*"))
    assert (output / "mine.md").exists()


def test_literature_is_never_on_the_frontier(published):
    _, folder = published
    published = [row for row in load_published(folder) if row.source == "published"]
    assert len(published) == 22
    assert {row.on_frontier for row in published} == {None}


def test_a_history_that_is_not_there_and_a_folder_that_cannot_be_written_are_said(history, tmp_path):
    run = leaderboards("publish", "--history", tmp_path / "absent", "--output", tmp_path / "out")
    assert run.returncode == 2
    assert "no history folder" in run.stderr
    (tmp_path / "file").write_text("")
    run = leaderboards("publish", "--history", history, "--output", tmp_path / "file")
    assert run.returncode == 2
    assert "--output" in run.stderr
    assert "Traceback" not in run.stderr


def test_frontier_of_one_device(history):
    run = leaderboards("frontier", "--history", history, "--device", "cpu")
    assert run.returncode == 0
    assert f"{NANO}/steps-16" in run.stdout
    assert f"{NANO}/bf16" not in run.stdout
    assert (
        "only figures published by others" in leaderboards("frontier", "--history", history, "--device", "v100").stdout
    )


def test_frontier_answers_a_question(history):
    run = leaderboards("frontier", "--history", history, "--max-latency-s", 1, "--max-memory-gb", 8)
    assert "at most 1 s and at most 8 GB" in run.stdout
    assert "1 of 3 ranked rows fit" in run.stdout
    assert f"nearest miss: {NANO}/fp32@cpu" in run.stdout


def test_an_unknown_device_is_answered_with_the_nearest_names(history):
    run = leaderboards("frontier", "--history", history, "--device", "ornin")
    assert run.returncode == 2
    assert "unknown device 'ornin'; nearest: orin" in run.stderr
    assert leaderboards("frontier", "--max-latency-s", "-3").returncode == 2


def kept(capsys, *arguments: object) -> tuple[int, str]:
    """`keep` in this process, which is quicker: exit status and what it said."""
    status = main(["keep", *map(str, arguments)])
    return status, capsys.readouterr().err


def test_keep_files_a_session_under_its_board(tmp_path, capsys):
    source = session_file(tmp_path / "0001_first.json", matrix())
    history = tmp_path / "history"
    run = leaderboards("keep", source, "--history", history)
    assert run.returncode == 0, run.stderr
    target = history / "laptop" / "0001_first.json"
    assert target.read_bytes() == source.read_bytes()
    assert kept(capsys, source, "--history", history) == (0, "")
    assert list((history / "laptop").iterdir()) == [target]  # the same again is no second file
    session_file(source, matrix()[:2])
    assert kept(capsys, source, "--history", history) == (0, "")
    assert len(list((history / "laptop").iterdir())) == 2  # another session of that name overwrites nothing
    assert target.read_bytes() != source.read_bytes()


def test_keep_refuses_a_smoke_run_unless_told(tmp_path, capsys):
    source = session_file(tmp_path / "0001.json", [measurement(smoke=True)])
    status, said = kept(capsys, source, "--history", tmp_path / "history")
    assert status == 2
    assert "smoke run" in said
    assert "--smoke" in said
    assert not (tmp_path / "history").exists()
    assert kept(capsys, source, "--smoke", "--history", tmp_path / "history") == (0, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not a session's file"),
        ('{"a": 1}', "not a session's file"),
        ('{"configuration": "a/b@cpu"}', "journalled"),
        ('{"benchmarks": []}', "no `cells`"),
        ('{"benchmarks": [], "cells": []}', "no `cells`"),
        ('{"benchmarks": [], "cells": [{"model": "a"}]}', "cells[0].configuration"),
        (None, "cannot be read"),
    ],
)
def test_keep_says_what_is_wrong_with_a_file(tmp_path, capsys, text, why):
    path = tmp_path / "0001.json"
    if text is not None:
        path.write_text(text)
    status, said = kept(capsys, path, "--history", tmp_path / "history")
    assert status == 2
    assert why in said
    assert str(path) in said


def test_keep_takes_the_good_files_among_bad_ones(tmp_path, capsys):
    good = session_file(tmp_path / "good.json", [measurement()])
    status, said = kept(capsys, tmp_path / "absent.json", good, "--history", tmp_path / "history")
    assert status == 2
    assert "absent.json" in said
    assert (tmp_path / "history" / "laptop" / "good.json").exists()


def test_leaderboards_import_no_torch():
    code = (
        "import sys, leaderboards.__main__, leaderboards.publish, leaderboards.rows;"
        "print(sorted({'torch', 'diffusers', 'open_clip', 'streamlit'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stderr
