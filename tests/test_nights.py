"""A night held against the nights before it, from histories as the suite writes them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from suite.history import MACHINE
from suite.judging.cause import Circumstances, cause
from suite.machine import Condition, Run, SessionMachine
from suite.nights.__main__ import main
from suite.nights.night import RULE_BOARD, RULE_FEW, RULE_PAIRED, RULE_STATUS, NoSession, judge_session
from suite.records import Energy, Measurement, Status, Verdict
from tests.factories import measurement, session_file

CELL = "point-e-nano-text/fp32@orin"
CELLS = [
    f"point-e-nano-text/{recipe}@orin" for recipe in ("fp32", "steps-16", "steps-4", "dpmpp-16", "bf16", "int8-w8")
]


def when(night: int) -> str:
    return (datetime(2026, 9, 1, 4, tzinfo=timezone.utc) + timedelta(days=night)).isoformat()


def history(nights: int = 30, cell: str = CELL, noise: float = 0.01, seed: int = 0, **others) -> list[Measurement]:
    chance = np.random.default_rng(seed)
    return [a_night(n, cell, 2.0 * float(np.exp(chance.normal(0, noise))), **others) for n in range(nights)]


def a_night(night: int, cell: str = CELL, seconds: float = 2.0, **others) -> Measurement:
    others.setdefault("commit", f"{night:010x}")
    return measurement(cell, seconds=seconds, session=f"night-{night}", measured_at=when(night), **others)


def finding(report, quantity: str, cell: str = CELL):
    (found,) = [f for f in report.findings if f.quantity == quantity and f.configuration == cell]
    return found


def test_a_quiet_history_passes_in_every_figure():
    report = judge_session(history())
    assert report.verdict == Verdict.PASS
    assert {f.quantity for f in report.findings} == {"latency_s", "peak_memory_bytes", "r_precision"}
    assert finding(report, "latency_s").judged.smallest[1] <= 0.05


def test_three_slow_nights_are_red_and_name_the_commits():
    report = judge_session([*history(30), *(a_night(n, seconds=2.4) for n in (30, 31, 32))])
    found = finding(report, "latency_s")
    assert report.verdict == Verdict.REGRESSED
    assert found.judged.change.value == pytest.approx(1.2, abs=0.03)
    assert found.then.commit == f"{29:010x}"
    assert found.cause.kind == "code"


def test_a_change_that_is_noticed_late_is_explained_by_the_night_in_which_it_began():
    noisy = history(13, noise=0.2, seed=5)
    changed = [a_night(n, seconds=seconds, commit="b" * 10) for n, seconds in ((13, 4.0), (14, 4.1), (15, 5.0))]
    found = finding(judge_session([*noisy, *changed]), "latency_s")
    assert found.judged.verdict == Verdict.UNCERTAIN and found.judged.rule == "surprising night"
    assert found.then.commit == f"{12:010x}" and found.cause.kind == "code"
    quiet = finding(judge_session([*noisy, a_night(13, seconds=5.0, commit=noisy[-1].commit)]), "latency_s")
    assert quiet.then is not None and quiet.then.session == "night-12"


def test_one_slow_night_is_measured_again_and_becomes_red_or_green_by_that():
    past = [*history(30), a_night(30, seconds=2.4)]
    assert finding(judge_session(past), "latency_s").judged.verdict == Verdict.UNCERTAIN
    red = finding(judge_session(past, confirmed={CELL: Verdict.REGRESSED}), "latency_s")
    assert (red.judged.verdict, red.cause.kind) == (Verdict.REGRESSED, "code")
    green = finding(judge_session(past, confirmed={CELL: Verdict.PASS}), "latency_s")
    assert (green.judged.verdict, green.cause.kind) == (Verdict.PASS, "noise")


def test_more_memory_for_three_nights_is_red():
    report = judge_session([*history(30), *(a_night(n, memory=66_000_000) for n in (30, 31, 32))])
    assert [f.quantity for f in report.of(Verdict.REGRESSED)] == ["peak_memory_bytes"]


def test_more_energy_for_three_nights_is_red():
    def energy(joules: float) -> Energy:
        return Energy(rails=["VIN"], energy_j=joules)

    past = [*history(30, energy=energy(20.0)), *(a_night(n, energy=energy(23.0)) for n in (30, 31, 32))]
    assert [f.quantity for f in judge_session(past).of(Verdict.REGRESSED)] == ["energy_j"]


def test_lost_prompts_are_red_in_one_night():
    report = judge_session([*history(5, hits=130), a_night(5, hits=110)])
    found = finding(report, "r_precision")
    assert (found.judged.verdict, found.judged.rule) == (Verdict.REGRESSED, RULE_PAIRED)
    assert "20 lost of 153" in found.judged.reason
    assert finding(judge_session([*history(5), a_night(5, hits=129)]), "r_precision").judged.verdict == Verdict.PASS


def test_a_cell_that_crashes_is_red_and_one_that_was_throttled_is_not():
    crashed = judge_session([*history(5), a_night(5, status=Status.CRASHED)])
    assert (crashed.verdict, crashed.findings[0].judged.rule) == (Verdict.REGRESSED, RULE_STATUS)
    assert judge_session([*history(5), a_night(5, status=Status.THROTTLED)]).verdict == Verdict.UNCERTAIN


def test_of_few_nights_none_is_red_for_its_latency():
    judged = finding(judge_session([*history(5), a_night(5, seconds=3.0)]), "latency_s").judged
    assert (judged.verdict, judged.rule) == (Verdict.UNCERTAIN, RULE_FEW)
    assert finding(judge_session(history(2)), "latency_s").judged.verdict == Verdict.NO_BASELINE


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"torch": "2.14.0"}, "torch 2.13.0 then, 2.14.0 now"),
        ({"settings": "OMP_WAIT_POLICY=PASSIVE"}, "settings None then, OMP_WAIT_POLICY=PASSIVE now"),
    ],
)
def test_other_conditions_begin_a_new_series_and_say_what_changed(condition, words):
    report = judge_session([*history(30), a_night(30, seconds=2.6, **condition)])
    found = finding(report, "latency_s")
    assert found.judged.verdict == Verdict.NO_BASELINE
    assert "×1.297 of the last night under other conditions" in found.judged.reason
    assert found.cause.kind == "method"
    assert found.cause.evidence == (words,)


def test_a_board_that_slows_down_as_a_whole_is_one_event_and_not_red():
    past = [m for k, cell in enumerate(CELLS) for m in history(30, cell, seed=k)]
    slow = [a_night(n, cell, seconds=2.4) for cell in CELLS for n in (30, 31, 32)]
    report = judge_session(past + slow)
    assert "got worse together" in report.event
    assert report.verdict == Verdict.UNCERTAIN
    assert {f.judged.rule for f in report.of(Verdict.UNCERTAIN)} == {RULE_BOARD}
    assert {f.cause.kind for f in report.of(Verdict.UNCERTAIN)} == {"machine"}
    confirmed = judge_session(past + slow, confirmed={CELLS[0]: Verdict.REGRESSED})
    assert [f.configuration for f in confirmed.of(Verdict.REGRESSED)] == [CELLS[0]]


def test_a_canary_that_moved_with_it_makes_the_machine_the_cause():
    past = history(30, canary_s=0.010)
    report = judge_session([*past, *(a_night(n, seconds=2.4, canary_s=0.012) for n in (30, 31, 32))])
    assert finding(report, "latency_s").cause.kind == "machine"


def test_on_processors_a_slower_machine_passes_since_all_is_divided_by_its_reference():
    cell = "point-e-nano-text/steps-16@cpu"
    past = history(30, cell, reference_s=4.0)
    slow = [a_night(n, cell, 3.0, reference_s=6.0) for n in (30, 31, 32)]
    assert finding(judge_session(past + slow), "latency_ratio", cell).judged.verdict == Verdict.PASS
    worse = [a_night(n, cell, 3.0, reference_s=4.0) for n in (30, 31, 32)]
    assert finding(judge_session(past + worse), "latency_ratio", cell).judged.verdict == Verdict.REGRESSED


def test_a_recipe_that_computes_something_else_is_a_change_of_method():
    past = history(30, evaluations=64)
    report = judge_session([*past, *(a_night(n, seconds=2.4, evaluations=80) for n in (30, 31, 32))])
    found = finding(report, "latency_s").cause
    assert found.kind == "method"
    assert "evaluations 64 then, 80 now" in found.evidence


def test_what_was_not_measured_this_time_is_named():
    past = [m for cell in CELLS[:2] for m in history(3, cell)]
    assert judge_session([*past, a_night(3)]).missing == (CELLS[1],)


def test_of_a_session_that_measured_twice_the_later_counts():
    again = a_night(30, seconds=2.0).model_copy(update={"measured_at": when(30).replace("T04", "T05")})
    assert judge_session([*history(30), a_night(30, seconds=9.0), again]).verdict == Verdict.PASS


def test_an_unknown_session_is_answered_with_the_newest():
    with pytest.raises(NoSession, match="night-4"):
        judge_session(history(5), "nigth-4")


@pytest.mark.parametrize(
    ("now", "seen", "kind"),
    [
        ({}, Circumstances(1.2), "noise"),
        ({"commit": "f" * 10}, Circumstances(1.2), "code"),
        ({"commit": "f" * 10}, Circumstances(1.2, confirmed=Verdict.PASS), "noise"),
        ({"commit": "f" * 10}, Circumstances(1.2, confirmed=Verdict.PASS, canary_ratio=1.3), "machine"),
        ({"commit": "f" * 10}, Circumstances(1.2, confirmed=Verdict.REGRESSED, canary_ratio=1.3), "code"),
        ({"commit": "f" * 10}, Circumstances(1.2, canary_ratio=1.02), "code"),
        ({"commit": "f" * 10}, Circumstances(1.2, canary_ratio=0.8), "code"),
        ({"commit": "f" * 10}, Circumstances(1.2, unsteady="rebooted"), "machine"),
        ({"torch": "2.14.0"}, Circumstances(1.2, canary_ratio=1.3), "method"),
        ({"weights_sha256": "c" * 64}, Circumstances(1.2), "method"),
        ({"status": Status.THROTTLED, "reason": "the board throttled itself"}, Circumstances(1.0), "machine"),
        ({"status": Status.CRASHED, "commit": "f" * 10}, Circumstances(1.0), "code"),
    ],
)
def test_the_cause_follows_the_written_rules(now, seen, kind):
    same = {"commit": "0" * 10}
    assert cause(measurement(**same), measurement(**(same | now)), seen).kind == kind


def test_the_command_reads_a_history_and_its_exit_status_is_the_verdict(tmp_path, capsys):
    sessions = [*history(30), *(a_night(n, seconds=2.4) for n in (30, 31, 32))]
    for m in sessions:
        session_file(tmp_path / "laptop" / f"{m.session}.json", [m])
    told = ["--json", str(tmp_path / "out" / "night.json"), "--markdown", str(tmp_path / "out" / "night.md")]
    assert main(["--history", str(tmp_path), "--session", "night-29"]) == 0
    assert main(["--history", str(tmp_path), *told]) == 1
    said = capsys.readouterr().out
    assert "regressed: point-e-nano-text/fp32@orin, latency_s: ×1.2" in said
    assert "cause: code (commits" in said
    (report,) = json.loads((tmp_path / "out" / "night.json").read_text())
    rows = {row["quantity"]: row for row in report["findings"]}
    assert rows["latency_s"]["verdict"] == "regressed"
    assert rows["latency_s"]["smallest_change_in_10_nights"] > 0
    assert rows["peak_memory_bytes"]["verdict"] == "pass"
    assert (
        "| 🔴 regressed | point-e-nano-text/fp32@orin | latency_s | ×1.2" in (tmp_path / "out" / "night.md").read_text()
    )


def test_the_command_takes_what_was_confirmed_and_refuses_what_is_no_confirmation(tmp_path, capsys):
    for m in [*history(30), a_night(30, seconds=2.4)]:
        session_file(tmp_path / "laptop" / f"{m.session}.json", [m])
    answer = tmp_path / "confirmed.txt"
    answer.write_text(json.dumps({"configurations": [{"configuration": CELL, "verdict": "regressed"}]}))
    assert main(["--history", str(tmp_path), "--confirmed", str(answer)]) == 1
    answer.write_text('{"configurations": 3}')
    assert main(["--history", str(tmp_path), "--confirmed", str(answer)]) == 2
    assert str(answer) in capsys.readouterr().err


def test_the_command_answers_wrong_names_with_near_ones(tmp_path, capsys):
    session_file(tmp_path / "laptop" / "one.json", [a_night(0)])
    assert main(["--history", str(tmp_path), "--board", "labtop"]) == 2
    assert "laptop" in capsys.readouterr().err
    assert main(["--history", str(tmp_path / "nothing")]) == 2
    assert "nothing was measured" in capsys.readouterr().err


def an_unsteady(session: str, *why: str) -> SessionMachine:
    run = Run(start=Condition(at=when(0)))
    return SessionMachine(session=session, board="laptop", runs=[run], unsteady=list(why))


def test_an_unsteady_night_has_the_machine_as_its_cause_and_is_no_past_of_others():
    past = [*history(30), *(a_night(n, seconds=2.4) for n in (30, 31, 32))]
    report = judge_session(past, unsteady={"night-32": "the machine was rebooted"})
    assert report.unsteady == "the machine was rebooted"
    assert finding(report, "latency_s").cause.kind == "machine"
    others = {"night-30": "rebooted", "night-31": "rebooted"}
    alone = judge_session(past, unsteady=others)  # of three slow nights one can be trusted
    assert alone.unsteady is None
    assert finding(alone, "latency_s").judged.verdict == Verdict.UNCERTAIN
    assert finding(alone, "latency_s").then.session == "night-29"


def test_the_command_reads_which_sessions_were_unsteady(tmp_path, capsys):
    for m in [*history(30), *(a_night(n, seconds=2.4) for n in (30, 31, 32))]:
        path = session_file(tmp_path / "laptop" / f"{m.session}.json", [m])
        if m.session in ("night-30", "night-31"):
            machine = an_unsteady(m.session, "the clock was set back by 60 s").model_dump(mode="json")
            path.write_text(json.dumps(json.loads(path.read_text()) | {MACHINE: machine}))
    assert main(["--history", str(tmp_path)]) == 0
    assert "uncertain: point-e-nano-text/fp32@orin, latency_s" in capsys.readouterr().out
    told = tmp_path / "night.json"
    main(["--history", str(tmp_path), "--session", "night-31", "--json", str(told)])
    assert "unsteady session: the clock was set back by 60 s" in capsys.readouterr().out
    assert json.loads(told.read_text())[0]["unsteady"] == "the clock was set back by 60 s"
