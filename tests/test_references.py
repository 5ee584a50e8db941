"""What the ratios of a session are taken to: each model's reference, timed again once it is old."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from suite.configurations import find
from suite.records import Status
from suite.session.references import OLD_S, References, as_reference
from suite.session.summary import reference_notes
from tests.factories import measurement

MODEL = "shap-e-nano-text"


class Machine:
    """One whose reference takes `seconds`, unless it fails. It knows how often it was asked, and the time."""

    def __init__(self, seconds: float = 1.0):
        self.seconds, self.status, self.now_s, self.timings = seconds, Status.OK, 0.0, 0
        self.references = References(self.run, lambda: self.now_s)

    def run(self, plan) -> object:
        self.timings += 1
        when = f"2026-11-29T18:00:{self.timings:02}Z"
        asked = plan.configuration.id
        if self.status != Status.OK:
            return measurement(asked, status=self.status)
        return measurement(asked, seconds=self.seconds, measured_at=when, hits=None)

    def seconds_of(self, cell: str, own=None) -> float | None:
        configuration = find(cell)
        plan = SimpleNamespace(
            configuration=configuration, reference=lambda: SimpleNamespace(configuration=configuration.reference)
        )
        found = self.references.of(plan, own)
        return None if found is None else found.latency.value


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_it_is_timed_once_and_again_when_it_is_old(machine):
    assert machine.seconds_of(f"{MODEL}/steps-16@cpu") == pytest.approx(1.0)
    machine.seconds, machine.now_s = 2.0, OLD_S
    assert machine.seconds_of(f"{MODEL}/steps-8@cpu") == pytest.approx(1.0) and machine.timings == 1
    machine.now_s += 1
    assert machine.seconds_of(f"{MODEL}/steps-4@cpu") == pytest.approx(2.0)
    assert machine.seconds_of(f"{MODEL}/onnx@cpu") == pytest.approx(2.0) and machine.timings == 2


def test_a_board_that_is_ones_own_keeps_its_first_timing(machine):
    machine.seconds_of(f"{MODEL}/steps-16@orin")
    machine.now_s = 100 * OLD_S
    machine.seconds_of(f"{MODEL}/steps-8@orin")
    assert machine.timings == 1


def test_a_slow_model_is_not_timed_for_most_of_the_session():
    slow = Machine(60.0)
    slow.seconds_of(f"{MODEL}/steps-16@cpu")
    slow.now_s = 5900.0
    slow.seconds_of(f"{MODEL}/steps-8@cpu")
    assert slow.timings == 1
    slow.now_s = 6100.0
    slow.seconds_of(f"{MODEL}/steps-8@cpu")
    assert slow.timings == 2


def test_its_own_cell_counts_from_when_it_began(machine):
    cell = find(f"{MODEL}/fp32@cpu")
    own = measurement(cell.id, seconds=3.0)
    machine.references.take(cell, own, 0.0)
    machine.now_s = OLD_S  # most of which its scoring took
    assert machine.seconds_of(f"{MODEL}/steps-16@cpu", own) == pytest.approx(3.0) and not machine.timings
    machine.now_s += 1
    assert machine.seconds_of(f"{MODEL}/steps-8@cpu", own) == pytest.approx(1.0)


def test_one_of_an_earlier_process_is_old(machine):
    own = measurement(f"{MODEL}/fp32@cpu", seconds=3.0)
    assert machine.seconds_of(f"{MODEL}/steps-16@cpu", own) == pytest.approx(1.0)
    assert machine.seconds_of(f"{MODEL}/steps-16@orin", measurement(f"{MODEL}/fp32@orin", seconds=3.0)) == 3.0


def test_one_that_fails_later_leaves_the_old_one_and_is_not_tried_for_every_cell(machine):
    machine.seconds_of(f"{MODEL}/steps-16@cpu")
    machine.status, machine.now_s = Status.CRASHED, OLD_S + 1
    for name in ("steps-8", "steps-4", "onnx"):
        assert machine.seconds_of(f"{MODEL}/{name}@cpu") == pytest.approx(1.0)
        machine.now_s += OLD_S
    assert machine.timings == 2 and machine.references.failed(find(f"{MODEL}/onnx@cpu")) is None


def test_one_that_fails_at_first_is_told_and_not_tried_again(machine):
    machine.status = Status.OUT_OF_MEMORY
    for name in ("steps-8", "steps-4"):
        assert machine.seconds_of(f"{MODEL}/{name}@cpu") is None
    assert machine.timings == 1
    assert machine.references.failed(find(f"{MODEL}/onnx@cpu")).status == Status.OUT_OF_MEMORY


def test_each_model_has_its_own_and_the_reference_and_imitations_have_none(machine):
    for cell in (f"{MODEL}/fp32@cpu", f"{MODEL}/w3@cpu"):
        assert machine.seconds_of(cell) is None
    assert machine.timings == 0
    for model in (MODEL, "point-e-nano-text"):
        machine.seconds_of(f"{model}/steps-16@cpu")
    assert machine.timings == 2


def test_the_table_says_how_far_the_machine_moved():
    fast, slow = (
        measurement(f"{MODEL}/fp32@cpu", seconds=s, measured_at=f"2026-11-29T18:0{n}:00Z") for n, s in enumerate((1, 2))
    )
    cells = [
        measurement(f"{MODEL}/{name}@cpu").model_copy(update={"reference": as_reference(held)})
        for name, held in (("steps-8", fast), ("steps-4", slow), ("onnx", slow))
    ]
    (line,) = reference_notes(cells)
    assert line.startswith(f"{MODEL}/fp32@cpu took 1 ±") and " to 2 ±" in line and " in 2 timings: " in line
    assert reference_notes(cells[1:]) == []
