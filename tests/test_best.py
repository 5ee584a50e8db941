"""`python -m leaderboards best`: questions with limits, answered from histories made here."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from leaderboards.__main__ import main
from leaderboards.best import Question, ask
from leaderboards.choice import Limits
from leaderboards.publish import read_board
from suite.records import Energy
from tests.factories import measurement, session_file

NANO = "point-e-nano-text"
MESH = "coloured mesh of a grid of 64"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    made = [
        measurement(seconds=2.0, hits=140, energy=Energy(rails=["VDD_IN"], energy_j=20.0)),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=136),
        measurement(f"{NANO}/steps-8@cpu", seconds=0.3, hits=90),
        measurement(f"{NANO}/steps-4@cpu", seconds=0.1, hits=0),
        measurement("point-e-nano-image/fp32@cpu", seconds=0.4, hits=139),
        measurement("shap-e-nano-text/fp32@cpu", seconds=3.0, hits=120, output=MESH),
    ]
    session_file(tmp_path / "history" / "laptop" / "0001.json", made)
    return tmp_path / "history"


def asked(capsys, history: Path, *arguments: str) -> dict:
    assert main(["best", "--history", str(history), "--json", "--device", "cpu", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def names(answer: dict) -> list[str]:
    return [row["configuration"].split("@")[0] for row in [answer["best"], *answer["tied"]]]


def test_the_fastest_of_the_tied_and_a_kind_each(capsys, history):
    clouds, mesh = asked(capsys, history)["answers"]
    assert names(clouds) == ["point-e-nano-image/fp32", f"{NANO}/steps-16", f"{NANO}/fp32"]
    assert clouds["top"]["configuration"] == f"{NANO}/fp32@cpu"
    assert clouds["unranked"] == {f"{NANO}/steps-4@cpu": "failed quality: no better than chance (1 in 153)"}
    assert (mesh["kind"], names(mesh)) == ("mesh", ["shap-e-nano-text/fp32"])
    (one,) = asked(capsys, history, "--all-kinds")["answers"]
    assert one["considered"] == 5
    assert [a["kind"] for a in asked(capsys, history, "--kind", "mesh")["answers"]] == ["mesh"]


def test_limits_and_filters(capsys, history):
    def first(*arguments: str) -> dict:
        return asked(capsys, history, "--kind", "point cloud (256)", *arguments)["answers"][0]

    assert names(first("--conditioning", "text")) == [f"{NANO}/steps-16", f"{NANO}/fp32"]
    assert names(first("--conditioning", "image")) == ["point-e-nano-image/fp32"]
    assert names(first("--model", NANO)) == [f"{NANO}/steps-16", f"{NANO}/fp32"]
    assert names(first("--max-latency", "0.35")) == [f"{NANO}/steps-8"]
    # A least quality says what is good enough: then the fastest that reaches it.
    assert names(first("--min-quality", "50")) == [f"{NANO}/steps-8"]
    assert names(first("--min-quality", "90")) == ["point-e-nano-image/fp32"]
    narrow = first("--max-memory", "0.05")
    assert (narrow["best"], narrow["fitting"]) == (None, 0)
    assert "peak memory 0.06 GB is 20.0 % over 0.05 GB" in narrow["nearest_miss"]["why"]
    over = first("--max-energy", "30")
    assert names(over) == [f"{NANO}/fp32"]  # the others' energy is not known, which is not 0
    none = first("--max-energy", "10")
    assert none["best"] is None and "energy 20 J is 100.0 % over 10 J" in none["nearest_miss"]["why"]
    high = first("--min-quality", "99.5")
    assert high["best"] is None and "points under 99.5 %" in high["nearest_miss"]["why"]


def test_quality_may_be_told_among_3001(capsys, history):
    board = read_board([history])
    limits = Limits(axis="r_precision_3001")
    (clouds, _) = ask(board, Question(limits, "cpu"))
    assert clouds.answer.top.configuration == f"{NANO}/fp32@cpu"
    assert clouds.answer.top.r_precision_3001_low < clouds.answer.top.r_precision_3001 < 0.7
    answer = asked(capsys, history, "--quality", "r_precision_3001", "--min-quality", "59")["answers"][0]
    assert names(answer)[0] == "point-e-nano-image/fp32"
    asked_for = ["best", "--history", str(history), "--quality", "r_precision_3001", "--min-quality", "10"]
    assert main(asked_for) == 0
    said = capsys.readouterr().out
    assert "at least 10 % of R-Precision among 3,001, quality is R-Precision among 3,001 captions:" in said
    assert "of 3,001  " in said


def test_in_words(capsys, history):
    assert main(["best", "--history", str(history), "--device", "cpu", "--max-latency", "1", "--max-memory", "8"]) == 0
    said = capsys.readouterr().out
    assert "point cloud (256), at most 1 s and at most 8 GB:" in said
    assert "3 of 4 ranked rows fit; the fastest first of those that cannot be told from the best in quality" in said
    assert f"nearest miss: {NANO}/fp32@cpu" in said and "latency up to" in said
    assert "not ranked: 1 failed quality" in said


def test_the_old_options_of_frontier_ask_the_same(capsys, history):
    assert main(["frontier", "--history", str(history), "--device", "cpu", "--max-latency-s", "1"]) == 0
    old = capsys.readouterr().out
    assert main(["best", "--history", str(history), "--device", "cpu", "--max-latency", "1"]) == 0
    assert capsys.readouterr().out == old


def test_a_device_without_rows_is_answered_with_what_others_published(capsys, history):
    assert main(["best", "--history", str(history), "--device", "orin", "--max-latency", "10"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("orin: nothing measured; none within your 10 s: as others published, ")
    assert "shap-e-300m-text took 150 s on orin" in said and "doi:10.1145/3609395.3610594" in said
    assert main(["best", "--history", str(history), "--device", "h100", "--max-latency", "20"]) == 0
    assert " on v100" in capsys.readouterr().out  # nothing of its own: the best that fits elsewhere, named as such
    told = json_of(capsys, history, "--device", "orin", "--model", "point-e-40m-text", "--max-latency", "10")
    assert [entry["row"]["model"] for entry in told["published_by_others"]] == ["point-e-40m-text"]


def json_of(capsys, history: Path, *arguments: str) -> dict:
    assert main(["best", "--history", str(history), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "ornin"], "unknown device 'ornin'; nearest: orin"),
        (["--kind", "mush"], "unknown kind 'mush'; nearest: mesh"),
        (["--model", "point-e-nano-txt"], "unknown model 'point-e-nano-txt'; nearest: point-e-nano-text"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(capsys, history, arguments, said):
    assert main(["best", "--history", str(history), *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--min-quality", "900"], "expected per cent from 0 to 100, such as 90, got '900'"),
        (["--max-energy", "-1"], "expected a number of joules above 0"),
        (["--quality", "clip"], "invalid choice: 'clip'"),
        (["--kind", "mesh", "--all-kinds"], "not allowed with"),
    ],
)
def test_a_value_that_means_nothing_is_refused(capsys, history, arguments, said):
    with pytest.raises(SystemExit):
        main(["best", "--history", str(history), *arguments])
    assert said in capsys.readouterr().err


def test_the_question_of_the_document_has_the_answer_that_stands_there(capsys):
    text = (Path(__file__).parents[1] / "docs" / "choosing.md").read_text()
    question, *block = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    assert main([*shlex.split(question)[3:]]) == 0
    said = capsys.readouterr().out.splitlines()[1:]
    assert len(block) == 7
    assert [line for line, real in zip(block, said) if not real.startswith(line)] == []
