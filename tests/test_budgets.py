"""The rule of the budgets, and what a malformed file is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from suite import configurations
from suite.catalogue.devices import DEVICES
from suite.configurations import find
from suite.judging.budgets import MalformedBudgets, judge, load_budgets
from suite.judging.intervals import latency_interval
from suite.judging.latency_units import speedup
from suite.records import Budget, Cost, Interval, MachinePeak, StageCost, Status, Verdict
from tests.factories import latency, measurement, quality

ROOT = Path(__file__).parents[1]
FP32, STEPS, W3 = (f"point-e-nano-text/{name}@cpu" for name in ("fp32", "steps-16", "w3"))


def budget(name: str, limit: float | None = None, **fields) -> Budget:
    return Budget(**{"name": name, "limit": limit, "source": "measured", "reason": "made for a test"} | fields)


def timed(low: float, value: float, high: float, **fields):
    made = measurement(**fields)
    return made.model_copy(
        update={"latency": made.latency.model_copy(update={"median": Interval(value=value, low=low, high=high)})}
    )


# The rule.


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        (0.9, Verdict.OVER_BUDGET),
        (0.999, Verdict.OVER_BUDGET),
        (1.0, Verdict.UNCERTAIN),  # the interval's end lies on the limit
        (1.05, Verdict.UNCERTAIN),
        (1.15, Verdict.UNCERTAIN),
        (1.2, Verdict.PASS),
        (9.0, Verdict.PASS),
    ],
)
def test_a_latency_fails_only_when_its_whole_interval_lies_above_the_limit(limit, verdict):
    judgement = judge(budget("latency_s", limit), timed(1.0, 1.1, 1.2))
    assert judgement.verdict == verdict
    assert judgement.value.value == 1.1


@pytest.mark.parametrize(
    ("hits", "verdict"), [(153, Verdict.PASS), (140, Verdict.PASS), (122, Verdict.UNCERTAIN), (60, Verdict.OVER_BUDGET)]
)
def test_of_quality_more_is_better(hits, verdict):
    judgement = judge(budget("r_precision", 0.8), measurement(hits=hits))
    assert judgement.verdict == verdict
    assert "at least 0.8" in judgement.message


def test_memory_is_known_without_an_interval():
    made = measurement(memory=60_000_000)
    assert judge(budget("peak_memory_bytes", 60_000_000), made).verdict == Verdict.PASS
    assert judge(budget("peak_memory_bytes", 59_999_999), made).verdict == Verdict.OVER_BUDGET


def test_one_sample_cannot_break_a_latency_budget_since_its_interval_is_unknown():
    one = measurement(samples=1, seconds=2.0, reference_s=2.0)
    assert one.latency.median == Interval(value=2.0)
    assert judge(budget("latency_s", 1.0), one).verdict == Verdict.UNCERTAIN
    assert judge(budget("latency_ratio", 0.5), one).verdict == Verdict.UNCERTAIN


def test_a_ratio_is_to_the_reference_of_the_same_session_with_both_intervals():
    made = measurement(STEPS, seconds=0.5, reference_s=2.0)
    reference = made.reference.model_copy(update={"latency": Interval(value=2.0, low=1.8, high=2.2)})
    made = made.model_copy(update={"reference": reference})
    assert judge(budget("latency_ratio", 0.2), made).verdict == Verdict.OVER_BUDGET
    assert judge(budget("latency_ratio", 0.24), made).verdict == Verdict.UNCERTAIN
    assert judge(budget("latency_ratio", 0.3), made).verdict == Verdict.PASS
    assert judge(budget("latency_ratio", 0.3), made).value.value == pytest.approx(0.25)


def test_a_ratio_without_a_reference_is_not_judged_and_says_so():
    judgement = judge(budget("latency_ratio", 0.3), measurement(STEPS))
    assert judgement.verdict is None
    assert "no reference in this session" in judgement.message


def test_a_limit_in_seconds_travels_with_the_canary():
    """The canary took 1 ms where the limit was set; where it takes 2 ms, twice as many seconds are allowed."""
    limit = budget("latency_s", 1.0, canary_s=0.001)
    assert judge(limit, timed(1.8, 1.9, 1.95, canary_s=0.002)).verdict == Verdict.PASS
    assert judge(limit, timed(1.8, 1.9, 1.95, canary_s=0.001)).verdict == Verdict.OVER_BUDGET
    assert judge(limit, timed(0.6, 0.6, 0.6, canary_s=0.0005)).verdict == Verdict.OVER_BUDGET
    assert "at most 2 " in judge(limit, timed(1.8, 1.9, 1.95, canary_s=0.002)).message
    assert judge(limit, timed(1.8, 1.9, 1.95)).verdict is None  # no canary ran: nothing to scale by


def test_an_expected_status_fails_at_any_other_outcome():
    expected = budget("status", expect=Status.OUT_OF_MEMORY)
    assert judge(expected, measurement(status=Status.OUT_OF_MEMORY)).verdict == Verdict.PASS
    for other in (Status.OK, Status.CRASHED, Status.TIMED_OUT):
        judgement = judge(expected, measurement(status=other))
        assert judgement.verdict == Verdict.OVER_BUDGET
        assert judgement.message == f"status: expected out-of-memory, got {other.value}"


def test_an_unset_budget_is_not_judged_and_gives_its_reason():
    for name in ("latency_s", "r_precision", "status"):
        judgement = judge(budget(name, source="unset", reason="no board yet"), measurement())
        assert judgement.verdict is None
        assert "no board yet" in judgement.message


def reaching(bfloat16: float) -> Cost:
    """Of a recipe in bfloat16, on a machine that reaches 100 FLOP/s in float32."""
    stages = {"base diffusion": StageCost(flops={"bfloat16": 9}, bytes_moved=1)}
    return Cost(stages=stages, peak=MachinePeak(flops_per_s={"float32": 100.0, "bfloat16": bfloat16}, bytes_per_s=10.0))


@pytest.mark.parametrize("limit", ["latency_s", "latency_ratio"])
def test_a_limit_on_latency_is_not_held_without_the_recipes_arithmetic(limit):
    """A Zen 3 computed bfloat16 at a hundredth of float32's rate, and was red for that in its first session."""
    made = {"configuration_id": "shap-e-nano-text/bf16@cpu", "seconds": 3.4, "reference_s": 1.8}
    judgement = judge(budget(limit, 1.6), measurement(**made, cost=reaching(1.0)))
    assert judgement.verdict is None
    assert "arithmetic in bfloat16" in judgement.message
    assert judge(budget(limit, 1.6), measurement(**made, cost=reaching(200.0))).verdict == Verdict.OVER_BUDGET
    assert judge(budget(limit, 1.6), measurement(**made)).verdict == Verdict.OVER_BUDGET  # not known: held
    assert judge(budget("peak_memory_bytes", 1), measurement(**made, cost=reaching(1.0))).verdict == Verdict.OVER_BUDGET


@pytest.mark.parametrize(
    ("name", "made", "words"),
    [
        ("latency_s", measurement(W3), "a simulated recipe has no latency"),
        ("r_precision", measurement(hits=None), "no value in this run"),
        ("peak_memory_bytes", measurement(status=Status.CRASHED, reason="fell over"), "status crashed: fell over"),
    ],
)
def test_what_was_not_measured_is_not_judged_and_says_why(name, made, words):
    judgement = judge(budget(name, 1.0), made)
    assert judgement.verdict is None
    assert words in judgement.message


def test_a_message_has_value_interval_limit_and_source():
    message = judge(budget("latency_s", 1.0, reason="three sessions"), timed(1.5, 1.6, 1.7)).message
    for part in ("latency_s", "1.6", "1.5 to 1.7", "at most 1", "measured", "three sessions"):
        assert part in message


# Malformed files.


def load(tmp_path: Path, text: str):
    path = tmp_path / "cpu.toml"
    path.write_text(text)
    return load_budgets(path)


GOOD = 'latency_s = { limit = 1.0, source = "measured", reason = "r" }\n'
UNSET = '"m/o" = { unset = ["latency_s", "r_precision"], reason = "no board yet" }\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            f'["m/o"]\n{GOOD}r_precison = {{ source = "unset", reason = "r" }}\n',
            3,
            ["r_precison", "nearest: r_precision"],
        ),
        (f'["m/o"]\n{GOOD}latency = {{ source = "unset", reason = "r" }}\n', 3, ["latency", "nearest: latency_s"]),
        (f'["m/o"]\n{GOOD}\n["m/p"]\nlatency_s = 3\n', 5, ['"m/p".latency_s', "3"]),
        (
            '["m/o"]\nlatency_s = { limit = "fast", source = "measured", reason = "r" }',
            2,
            ["latency_s.limit", "'fast'"],
        ),
        ('["m/o"]\nlatency_s = { limit = 1, source = "measured" }', 2, ["latency_s.reason"]),
        ('["m/o"]\nlatency_s = { limit = 1, source = "guessed", reason = "r" }', 2, ["latency_s.source", "'guessed'"]),
        ('["m/o"]\nlatency_s = { limt = 1, source = "measured", reason = "r" }', 2, ["limt"]),
        ('["m/o"]\nlatency_s = { name = "x", limit = 1, source = "measured", reason = "r" }', 2, ["name"]),
        ('["m/o"]\nlatency_s = { source = "measured", reason = "r" }', 2, ["latency_s", "give a limit"]),
        ('["m/o"]\nlatency_s = { expect = "ok", source = "measured", reason = "r" }', 2, ["latency_s"]),
        ('["m/o"]\nstatus = { limit = 1, source = "measured", reason = "r" }', 2, ["status"]),
        ('["m/o"]\nstatus = { expect = "fine", source = "measured", reason = "r" }', 2, ["status.expect", "'fine'"]),
        ('["m/o"]\nlatency_s = { limit = nan, source = "measured", reason = "r" }', 2, ["latency_s.limit"]),
        (
            '["m/o"]\nlatency_s = { limit = 1, canary_s = 0, source = "measured", reason = "r" }',
            2,
            ["latency_s.canary_s"],
        ),
        ('["m/o"]\nr_precision = { limit = 1, canary_s = 1, source = "measured", reason = "r" }', 2, ["r_precision"]),
        ("# budgets\n[mo]\n", 2, ["mo", 'expected a table ["model/optimization"]']),
        ("x = 1\n", 1, ["x"]),
        (f'["m/o"]\n{GOOD}{GOOD}', 3, []),
        (
            f'"m/p".{GOOD}"m/o".{GOOD}"m/o".r_precison = {{ source = "unset", reason = "r" }}\n',
            3,
            ['"m/o".r_precison', "nearest: r_precision"],
        ),
        (f'"m/p".{GOOD}"m/o".latency_s = 3\n', 2, ['"m/o".latency_s', "3"]),
        (f'["m/p"]\n{GOOD}"m/o".{GOOD}', 3, ['"m/o"', 'inside ["m/p"]', "above all tables"]),
        (f'["m/p"]\n{GOOD}{UNSET}', 3, ['"m/o"', 'inside ["m/p"]', "above all tables"]),
        (f'"m/p".{GOOD}{UNSET.replace("latency_s", "latency")}', 2, ['"m/o".unset', "'latency'", "nearest: latency_s"]),
        (f'"m/p".{GOOD}{UNSET.replace("r_precision", "latency_s")}', 2, ['"m/o".unset', "'latency_s'", "twice"]),
        ('"m/o" = { unset = "r" }', 1, ['"m/o".unset', "expected the names of budgets", "'r'"]),
        ('"m/o" = { unset = [], reason = "r" }', 1, ['"m/o".unset', "[]"]),
        ('"m/o" = { unset = [1], reason = "r" }', 1, ['"m/o".unset', "[1]"]),
        ('"m/o" = { unset = ["latency_s"] }', 1, ['"m/o".reason', "None"]),
        ('"m/o" = { unset = ["latency_s"], reason = "" }', 1, ['"m/o".reason', "''"]),
        (f"{UNSET[:-3]}, limit = 1 }}\n", 1, ['"m/o".limit', "nothing else"]),
        ('"m/o" = { unst = ["latency_s"], reason = "r" }', 1, ['"m/o".unst', "nearest: unset"]),
        ('["m/o"\n', 1, []),
    ],
    ids=[
        "misspelt budget",
        "budget whose name begins another",
        "no table",
        "text for a number",
        "no reason",
        "unknown source",
        "misspelt field",
        "field name",
        "no limit",
        "expect on a limit",
        "limit on a status",
        "unknown status",
        "not a number",
        "canary of 0",
        "canary on quality",
        "table without a slash",
        "no table at all",
        "twice",
        "misspelt budget in a line of its own",
        "number in a line of its own",
        "line inside a table",
        "unset inside a table",
        "unset of an unknown budget",
        "unset twice",
        "unset without names",
        "unset of nothing",
        "unset of numbers",
        "unset without a reason",
        "unset with an empty reason",
        "unset with a limit",
        "unset misspelt",
        "no TOML",
    ],
)
def test_a_malformed_file_is_answered_with_file_line_and_key(tmp_path, text, line, words):
    with pytest.raises(MalformedBudgets) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "cpu.toml") in message
    assert f"cpu.toml:{line}:" in message or f"line {line}," in message  # TOML's own errors give the line in words
    for word in words:
        assert word in message


def test_a_good_file_is_read(tmp_path):
    assert load(
        tmp_path, f'["m/o"]\n{GOOD}["m/p"]\nstatus = {{ expect = "out-of-memory", source = "published", reason = "r" }}'
    ) == {
        "m/o": (Budget(name="latency_s", limit=1.0, source="measured", reason="r"),),
        "m/p": (Budget(name="status", expect=Status.OUT_OF_MEMORY, source="published", reason="r"),),
    }


def test_an_entry_in_one_line_or_in_dotted_keys_says_the_same_as_a_table(tmp_path):
    unset = '{ source = "unset", reason = "no board yet" }'
    table = load(tmp_path, f'["m/o"]\nlatency_s = {unset}\nr_precision = {unset}\n["m/p"]\n{GOOD}')
    assert [b.name for b in table["m/o"]] == ["latency_s", "r_precision"]
    for b in table["m/o"]:
        assert judge(b, measurement()).message == f"{b.name}: no budget yet: no board yet"
    assert load(tmp_path, f'"m/p".{GOOD}{UNSET}') == table == load(tmp_path, f'{UNSET}["m/p"]\n{GOOD}')
    assert load(tmp_path, f'"m/o".latency_s = {unset}\n"m/p".{GOOD}"m/o".r_precision = {unset}') == table


def test_a_configuration_without_an_entry_is_an_error_that_says_how_to_write_it(own_budgets):
    (own_budgets / "cpu.toml").write_text(f'["point-e-nano-text/fp32"]\n{GOOD}')
    assert len(find(FP32).budgets) == 1
    with pytest.raises(
        MalformedBudgets, match=r'no entry \["point-e-nano-text/steps-16"\].*suite.budgets propose --device cpu'
    ):
        find(STEPS).budgets  # noqa: B018


def test_a_device_without_a_budgets_file_is_the_same_error(own_budgets):
    with pytest.raises(MalformedBudgets, match=r"orin\.toml"):
        find("point-e-nano-text/fp32@orin").budgets  # noqa: B018


def test_every_configuration_has_an_entry_in_the_committed_files():
    for configuration in configurations.matrix():
        assert configuration.budgets, configuration.id
        if configuration.optimization.simulated:
            assert {b.name for b in configuration.budgets} <= {
                "r_precision",
                "status",
            }  # time and memory are the imitation's


def test_committed_latency_budgets_are_ratios_on_cpu_except_the_references_own():
    for configuration in configurations.matrix():
        kinds = {b.name for b in configuration.budgets if b.name.startswith("latency")}
        if configuration.device.name == "cpu" and not configuration.is_reference:
            assert "latency_s" not in kinds
        else:
            assert "latency_ratio" not in kinds


def test_an_unknown_entry_is_answered_with_the_nearest_recipes(own_budgets):
    """Else a misspelt name is a budget that nobody ever holds."""
    (own_budgets / "cpu.toml").write_text(f'["point-e-nano-text/fp32"]\n{GOOD}["point-e-nano-text/step-16"]\n{GOOD}')
    with pytest.raises(MalformedBudgets, match="step-16.*steps-16"):
        find(FP32).budgets  # noqa: B018


def test_every_device_has_its_budgets_file():
    assert {path.stem for path in (ROOT / "suite" / "budgets").glob("*.toml")} == set(DEVICES)


def test_the_factories_are_consistent():
    """The tests above lean on them."""
    made = measurement(FP32, seconds=2.0, hits=130, reference_s=2.0)
    assert made.latency.median == latency_interval(latency(2.0).samples_s)
    assert made.quality == quality(130)
    assert speedup(made) == pytest.approx(1.0)


def test_an_expected_status_does_not_fail_where_the_device_is_not_here(tmp_path):
    """`pytest -m orin` on a laptop skips every cell, those that are expected to run out of memory too."""
    from suite.devices.backend import Board
    from suite.plugin import board_of

    cell = '"point-e-nano-text/fp32"'
    absent = next(name for name in ("orin", "t4") if not isinstance(board_of(name), Board))
    for path in (ROOT / "suite" / "budgets").glob("*.toml"):
        lines = path.read_text().splitlines()
        if path.stem == absent:
            lines = [line for line in lines if not line.startswith(cell)]
            lines.append(f'{cell}.status = {{ expect = "out-of-memory", source = "published", reason = "r" }}')
        (tmp_path / path.name).write_text("\n".join(lines))
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.other_budgets",
            "-p",
            "no:cacheprovider",
            "-q",
            "-m",
            absent,
            "suite/test_configurations.py",
            f"--benchmark-storage={tmp_path / 'storage'}",
        ],
        cwd=ROOT,
        env={**os.environ, "TEXT3D_TEST_BUDGETS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:]
