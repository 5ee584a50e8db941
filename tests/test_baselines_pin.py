"""`python -m suite.baselines pin` and `python -m leaderboards compare`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import suite.baselines.__main__ as command
from leaderboards.__main__ import main as leaderboards
from leaderboards.compare import compare
from suite.judging.baselines import MalformedBaselines, load_baselines
from suite.records import Status, Verdict
from tests.factories import latency, measurement, session_file

FP32, STEPS, ORIN = (f"point-e-nano-text/{name}" for name in ("fp32@cpu", "steps-16@cpu", "fp32@orin"))


@pytest.fixture
def pins(tmp_path, monkeypatch) -> Path:
    """An empty folder of baselines in place of the project's."""
    folder = tmp_path / "baselines"
    monkeypatch.setattr(command, "FOLDER", folder)
    return folder


def session(folder: Path, n: int, **fields) -> Path:
    common = {
        "session": f"s{n}",
        "measured_at": f"2026-11-{n:02}T00:00:00Z",
        "canary_s": 0.001,
        "reference_s": 2.0,
        "spread": 0.001,
    }
    common |= fields
    made = [measurement(FP32, **common | {"seconds": 2.0}), measurement(STEPS, **{"seconds": 0.5 + n / 1000} | common)]
    return session_file(folder / f"{n:04}_s.json", made)


def sessions(folder: Path, count: int, **fields) -> list[Path]:
    return [session(folder, n, **fields) for n in range(1, count + 1)]


def pin(*arguments: object) -> int:
    return command.main(["pin", *map(str, arguments)])


def test_a_pinned_file_has_level_spread_samples_quality_identity_and_sources(pins, tmp_path):
    paths = sessions(tmp_path / "runs", 3)
    assert pin("--board", "laptop", *paths) == 0
    fp32, steps = load_baselines("laptop", pins).baselines
    assert (fp32.configuration, steps.configuration) == (FP32, STEPS)
    assert (fp32.latency_per, steps.latency_per) == ("canary", "reference")
    assert steps.latency.value == pytest.approx(0.502 / 2.0, rel=1e-4)
    assert steps.latency.low < 0.501 / 2 < 0.503 / 2 < steps.latency.high
    assert [s.session for s in steps.sessions] == ["s1", "s2", "s3"]
    assert [s.source for s in steps.sessions] == [path.name for path in paths]
    expected = [math.log(value) for value in latency(0.501, 0.001).samples_s]
    assert steps.sessions[0].log_samples == pytest.approx(expected, abs=1e-6)
    assert steps.peak_memory_bytes.value == 60_000_000
    assert steps.fingerprint == measurement(STEPS).fingerprint
    assert (len(steps.quality.prompts), steps.quality.hits) == (153, "1" * 130 + "0" * 23)


def test_a_named_board_is_pinned_in_seconds(pins, tmp_path):
    paths = [
        session_file(tmp_path / f"{n}.json", [measurement(ORIN, board="agx", session=f"s{n}", seconds=7.0)])
        for n in range(3)
    ]
    assert pin("--device", "orin", *paths) == 0  # the only board that was measured
    (found,) = load_baselines("agx", pins).baselines
    assert (found.latency_per, found.latency.value) == ("second", pytest.approx(7.0))


@pytest.mark.parametrize("fields", [{}, {"status": Status.CRASHED}, {"extrapolated": True}])
def test_fewer_than_three_sound_sessions_pin_nothing_and_say_so(pins, tmp_path, capsys, fields):
    paths = sessions(tmp_path / "runs", 2) + ([session(tmp_path / "runs", 3, **fields)] if fields else [])
    assert pin("--board", "laptop", *paths, paths[0]) == 2
    assert "measured in 2 of at least 3 comparable sessions" in capsys.readouterr().err
    assert not pins.exists()


def test_sessions_of_other_conditions_do_not_make_up_the_number(pins, tmp_path, capsys):
    paths = sessions(tmp_path / "runs", 3) + [session(tmp_path / "runs", 4, torch="2.14.0")]
    assert pin("--board", "laptop", *paths) == 2
    assert "measured in 1 of at least 3" in capsys.readouterr().err


def test_smoke_sessions_give_time_and_memory_and_never_quality(pins, tmp_path):
    pin("--board", "laptop", *sessions(tmp_path / "runs", 3, smoke=True))
    found = load_baselines("laptop", pins).baselines[1]
    assert found.latency is not None and found.peak_memory_bytes is not None and found.quality is None


def test_pinning_again_replaces_what_was_measured_and_keeps_the_rest(pins, tmp_path):
    pin("--board", "laptop", *sessions(tmp_path / "runs", 3))
    again = [
        session_file(
            tmp_path / "again" / f"{n}.json", [measurement(STEPS, session=f"t{n}", seconds=1.0, reference_s=2.0)]
        )
        for n in range(3)
    ]
    pin("--board", "laptop", *again)
    fp32, steps = load_baselines("laptop", pins).baselines
    assert [s.session for s in fp32.sessions] == ["s1", "s2", "s3"]
    assert steps.latency.value == pytest.approx(0.5)


def test_what_cannot_be_pinned_is_said_in_one_line(pins, tmp_path, capsys):
    paths = sessions(tmp_path / "runs", 3)
    two = [*paths, session_file(tmp_path / "b.json", [measurement(FP32, board="tower")])]
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for arguments, words in [
        (["--board", "labtop", *paths], "unknown board 'labtop'; nearest: laptop"),
        (["--device", "orrin", *paths], "unknown device 'orrin'; nearest: orin"),
        (two, "measured on laptop, tower: name one with --board"),
        ([broken], str(broken)),
    ]:
        assert pin(*arguments) == 2
        error = capsys.readouterr().err
        assert words in error and len(error.strip().splitlines()) == 1
    assert not pins.exists()


@pytest.mark.parametrize("text", ["{", '{"board": "laptop"}', '{"board": "other", "baselines": []}'])
def test_a_malformed_file_is_named(tmp_path, text):
    (tmp_path / "laptop.json").write_text(text)
    with pytest.raises(MalformedBaselines, match=r"laptop\.json: "):
        load_baselines("laptop", tmp_path)


# Compare.


def compared(pins: Path, history: Path) -> int:
    return leaderboards(["compare", "--history", str(history), "--baselines", str(pins)])


@pytest.fixture
def history(pins, tmp_path) -> Path:
    """Five pinned sessions."""
    pin("--board", "laptop", *sessions(tmp_path / "history", 5))
    return tmp_path / "history"


def test_a_regression_is_printed_and_fails(pins, history, capsys):
    session(history, 6, seconds=0.8)
    assert compared(pins, history) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "board laptop, against the baseline: 1 regressed, 1 pass"
    assert lines[1].split() == [STEPS, "regressed"]
    assert "latency_ratio regressed: ×1.590 of the level of 5 sessions" in lines[2]
    assert "(measured 2026-11-" in lines[2] and "UTC at commit 0123456789" in lines[2]
    assert lines[3].split() == [FP32, "pass"]


def test_where_nothing_is_pinned_a_choice_makes_it_red(pins, history, tmp_path, capsys):
    session(history, 6)
    asked = ["compare", "--history", str(history), "--require-baseline", "--baselines"]
    assert leaderboards([*asked, str(pins)]) == 0
    assert leaderboards([*asked, str(tmp_path / "none")]) == 1
    assert "held against no baseline: laptop" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert leaderboards(["compare", "--history", str(tmp_path / "empty"), "--require-baseline"]) == 1


def test_publish_prints_the_same_lines_behind_the_frontier(pins, history, tmp_path, capsys):
    session(history, 6, seconds=0.8)
    arguments = ["publish", "--history", str(history), "--output", str(tmp_path / "published")]
    assert leaderboards([*arguments, "--baselines", str(pins)]) == 0
    assert "against the baseline: 1 regressed, 1 pass" in capsys.readouterr().out
    assert leaderboards([*arguments, "--baselines", str(tmp_path / "none")]) == 0
    assert "baseline" not in capsys.readouterr().out


def test_equal_measurements_pass(pins, history, capsys):
    session(history, 6)
    assert compared(pins, history) == 0
    assert "against the baseline: 2 pass" in capsys.readouterr().out


def test_a_baseline_is_not_compared_with_itself(pins, history, capsys):
    assert compared(pins, history) == 0
    assert "nothing measured since the baseline was pinned" in capsys.readouterr().out


def test_a_board_without_a_baseline_says_how_to_pin_one(tmp_path, capsys):
    sessions(tmp_path / "history", 1)
    assert compared(tmp_path / "none", tmp_path / "history") == 0
    assert "python -m suite.baselines pin --board laptop" in capsys.readouterr().out


def test_the_newest_measurement_counts_and_what_did_not_run_does_not(pins, history):
    made = [
        measurement(
            STEPS, seconds=0.8, session="s6", measured_at="2026-11-06T00:00:00Z", reference_s=2.0, spread=0.001
        ),
        measurement(
            STEPS, seconds=0.5, session="s7", measured_at="2026-11-07T00:00:00Z", reference_s=2.0, spread=0.001
        ),
        measurement(STEPS, status=Status.NEEDS_WEIGHTS, session="s8", measured_at="2026-11-08T00:00:00Z"),
    ]
    (only,) = compare(made, pins)["laptop"]
    assert (only.measurement.session, only.verdict) == ("s7", Verdict.PASS)
