"""What a night's record says: exit status, what is gone on with, what is compared side by side, the summary."""

from __future__ import annotations

import pytest

from scripts.night_record import (
    GREEN,
    NOT_MEASURED,
    REGRESSED,
    Cells,
    NightRecord,
    Step,
    exit_status,
    of_measuring,
    read_cells,
    summary,
    suspects,
    to_resume,
)

AT = "2026-11-28T02:17:00+00:00"


def record(**others) -> NightRecord:
    known = {"board": "laptop", "device": "cpu", "select": "nightly", "history": "/h", "commit": "0123456789"}
    return NightRecord(**(known | {"began_at": AT, "began": "20261128T021700"} | others))


def step(status: int, *said: str) -> Step:
    return Step(ended_at=AT, exit_status=status, said=list(said))


@pytest.mark.parametrize(
    ("regressed", "troubles", "status"),
    [([], [], GREEN), ([], ["full"], NOT_MEASURED), (["slow"], [], REGRESSED), (["slow"], ["full"], REGRESSED)],
)
def test_red_comes_first_and_what_was_not_measured_is_never_green(regressed, troubles, status):
    assert exit_status(regressed, troubles) == status


def test_only_a_night_that_was_cut_short_and_asked_for_the_same_is_gone_on_with(tmp_path):
    assert to_resume(tmp_path, record()) is None
    record().write(tmp_path / "20261127T021700")
    last = tmp_path / "20261128T021700"
    record(steps={"preflight": step(0)}, running="measure").write(last)
    assert to_resume(tmp_path, record(began="20261129T021700")) == last
    assert to_resume(tmp_path, record(commit="f" * 10)) is None
    assert to_resume(tmp_path, record(pytest_options=["-k", "steps"])) is None
    record(exit_status=0).write(last)
    assert to_resume(tmp_path, record()) is None
    record(exit_status=2, steps={"measure": step(-9)}).write(last)  # pytest was killed, and the night came to its end
    assert to_resume(tmp_path, record()) == last
    (last / "night.json").write_text('{"board": ')
    assert to_resume(tmp_path, record()) is None


JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase name="test_configuration[a/fp32@cpu]"><failure message="Failed: over budget: 3 s&#10;Repeat"/>
<failure message="contains 1 failed subtest"/></testcase>
<testcase name="test_configuration[b/fp32@cpu]"><failure message="Failed: needs-weights: none&#10;x"/></testcase>
<testcase name="test_configuration[c/fp32@cpu]"><skipped message="throttled: hot"/></testcase>
<testcase name="test_configuration[d/fp32@cpu]"><skipped message="unsupported: no such kernel"/></testcase>
<testcase name="test_configuration[e/fp32@cpu]"><skipped message="latency_s: no limit is set"/></testcase>
</testsuite></testsuites>"""
NOTHING = Cells({}, {}, {})


def test_a_broken_limit_is_red_an_absent_cell_is_not_measured_and_an_unsupported_one_is_an_answer(tmp_path):
    (tmp_path / "junit.xml").write_text(JUNIT)
    cells = read_cells(tmp_path / "junit.xml")
    assert cells.broken == {"a/fp32@cpu": "over budget: 3 s"}
    assert cells.absent == {"b/fp32@cpu": "needs-weights: none", "c/fp32@cpu": "throttled: hot"}
    assert cells.unsupported == {"d/fp32@cpu": "unsupported: no such kernel"}
    assert read_cells(tmp_path / "absent.xml") == NOTHING
    said = ["text3d-bench: --require-device cpu: 2 of its cells were skipped: throttled: hot"]
    red, troubles = of_measuring(1, said, cells)
    assert red == ["a/fp32@cpu: over budget: 3 s"]
    assert troubles[:2] == ["b/fp32@cpu: needs-weights: none", "c/fp32@cpu: throttled: hot"] and len(troubles) == 3
    only = Cells({}, {}, cells.unsupported)
    assert of_measuring(1, said, only)[1] == [said[0].removeprefix("text3d-bench: ")]
    assert of_measuring(1, [said[0].replace("2 of", "1 of")], only) == ([], [])
    nothing = ["text3d-bench: --require-device cpu: no cell has a latency that can be trusted: unsupported"]
    assert of_measuring(1, nothing, only)[1] == [nothing[0].removeprefix("text3d-bench: ")]


@pytest.mark.parametrize(
    ("status", "said", "trouble"),
    [
        (1, ["text3d-bench: --require-device cpu: 1 of its cells were skipped"], "--require-device cpu: 1 of its"),
        (1, [], "pytest ended with status 1"),
        (2, [], "interrupted"),
        (3, ["text3d-bench: cannot write x: the disk is full"], "could not keep everything"),
        (4, ["text3d-bench: the clock says 1970"], "refused"),
        (5, [], "no cell is selected"),
        (-9, [], "ended by signal 9"),
    ],
)
def test_each_end_of_a_session_but_0_is_a_trouble_in_words(status, said, trouble):
    broken, troubles = of_measuring(status, said, NOTHING)
    assert broken == [] and trouble in troubles[0]
    assert status == 1 or troubles[1:] == said
    assert of_measuring(0, [], NOTHING) == ([], [])


def row(
    configuration: str,
    verdict: str,
    ratio: float,
    good: str | None = "abc+",
    quantity: str = "latency_s",
    smallest: float | None = None,
) -> dict:
    change = {"value": ratio, "low": None, "high": None}
    named = {"configuration": configuration, "weights": "embedded", "quantity": quantity, "reason": "because"}
    known = {"change": change, "last_good_commit": good, "smallest_change_in_3_nights": smallest}
    return {**named, "verdict": verdict, **known}


def never(commit: str) -> bool:
    """The code is every commit's."""
    return False


def test_what_is_compared_side_by_side_is_latency_worst_first_with_the_last_good_commit():
    rows = [
        row("a", "uncertain", 1.1),
        row("b", "uncertain", 1.3, None),
        row("c", "regressed", 1.05),
        row("d", "pass", 1),
    ]
    rows += [row("e", "regressed", 2, quantity="peak_memory_bytes"), row("c", "uncertain", 9, quantity="latency_ratio")]
    found = suspects([{"findings": rows}], "suspicious", None, never)
    assert [(s.configuration, s.base) for s in found] == [("c", "abc"), ("b", None), ("a", "abc")]
    assert {s.base for s in suspects([{"findings": rows}], "all", "main", never)} == {"main"}
    assert len(suspects([{"findings": rows}], "all", None, never)) == 4
    assert suspects([{"findings": rows}], "never", None, never) == []


def test_at_another_commit_what_the_past_would_not_show_is_compared_too_the_slowest_looking_first():
    rows = [
        row("quiet", "pass", 1.04, smallest=0.02),
        row("noisy", "pass", 1.01, smallest=0.2),
        row("young", "no-baseline", 1.2),
        row("same code", "pass", 1.3, good="the same"),
        row("first night", "no-baseline", 1.0, good=None),
        row("red", "uncertain", 1.1, smallest=0.02),
    ]
    found = suspects([{"findings": rows}], "changed", None, lambda commit: commit != "the same")
    assert [s.configuration for s in found] == ["red", "young", "noisy"]
    assert [s.configuration for s in suspects([{"findings": rows}], "changed", None, never)] == ["red"]


def test_the_summary_says_the_verdict_first_and_carries_no_markup_of_others():
    text = summary(record(exit_status=1, regressed=["a: <b>|\nslow"]), "### judged")
    assert text.startswith("## 🔴 regressed: cpu on laptop") and text.rstrip().endswith("### judged")
    assert "- a: &lt;b>/\\nslow" in text
    assert "Nothing was judged" in summary(record(exit_status=2), None)
