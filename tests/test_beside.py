"""The reference timed in turn with a cell's rounds, by a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from multiprocessing import Pipe

import pytest

from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE
from suite.configurations import find
from suite.judging.latency_units import MIN_PAIRS, paired_ratio
from suite.metrics import beside
from suite.metrics.beside import Beside
from suite.metrics.latency import MAX_ROUNDS
from suite.records import Status
from suite.worker import execution
from suite.worker.job import Job

JOB = Job(find("point-e-nano-text/distilled-2@cpu"), "embedded", 0, time_budget_s=0.1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(beside, "CALM_S", 0.0)


class Other:
    """The other process, in a thread: its objects take these seconds, some are disturbed, and then it ends."""

    def __init__(self, seconds: Sequence[float] = [1.0] * 100, disturbed: Collection[int] = ()):
        self.end, own = Pipe()

        def serve() -> None:
            own.send(None)
            for number, one in enumerate(seconds):
                try:
                    own.recv()
                except EOFError:
                    break
                own.send((one, "others" if number in disturbed else None))
            own.close()

        threading.Thread(target=serve, daemon=True).start()


def waited(other: Other) -> Beside:
    found = Beside(other.end)
    found.wait()
    return found


def timed(other: Other, rounds_s: Sequence[float], time_s: float = 60.0) -> Beside:
    """After a cell's rounds of so many seconds."""
    found = waited(other)
    for end in range(1, len(rounds_s) + 1):
        found.keep_up(rounds_s[:end], time_s)
    return found


def test_of_a_slow_cell_each_round_has_an_object_after_it():
    found = timed(Other(), [2.0] * 8)
    assert (found.samples_s, found.after_rounds) == ([1.0] * 8, list(range(1, 9)))


@pytest.mark.parametrize(
    "seconds, after",
    [
        (0.8, [1, 2, 3, 4, 5]),
        (0.5, [1, 3, 5, 7, 9]),
        (0.3, [1, 4, 7, 10, 13]),
        (0.01, [1, 5, 9, 13, 17]),
    ],
)
def test_of_a_fast_cell_some_rounds_have_one_together_and_there_are_enough(seconds, after):
    found = waited(Other())
    for end in range(1, MAX_ROUNDS + 1):
        found.keep_up([seconds] * end, 60.0)
        if found.has_enough(60.0):
            break
    assert found.after_rounds == after


def test_they_take_no_longer_than_the_time_that_a_cell_has():
    found = timed(Other([3.0] * 9), [0.1] * 20, time_s=5.0)
    assert len(found.samples_s) == 2 and found.has_enough(5.0) and not found.has_enough(7.0)


def test_a_slow_cell_s_own_time_counts_where_it_is_more():
    assert len(timed(Other([3.0] * 9), [4.0] * 6, time_s=5.0).samples_s) == 6


def test_a_round_that_was_set_aside_is_in_no_pair():
    """Nothing is new after it, so nothing is made."""
    found = waited(Other())
    for kept in (1, 1, 1, 2):
        found.keep_up([3.0] * kept, 60.0)
    assert found.after_rounds == [1, 2]


def test_a_disturbed_object_is_set_aside_too_and_the_rounds_before_it_wait_for_the_next():
    found = timed(Other([1.0, 9.0, 1.0, 1.0], disturbed=[1]), [12.0] * 4)
    assert (found.samples_s, found.after_rounds) == ([1.0] * 3, [1, 3, 4])


def test_on_a_machine_that_is_never_quiet_some_are_kept_all_the_same():
    found = timed(Other(disturbed=range(100)), [2.0] * 20)
    assert found.after_rounds[0] == MIN_PAIRS + 1 and len(found.samples_s) >= 10


@pytest.mark.parametrize("objects", [0, 2])
def test_where_nobody_answers_any_more_there_is_what_was_made(objects):
    found = timed(Other([1.0] * objects), [15.0] * 4)
    assert found.samples_s == [1.0] * objects and found.has_enough(60.0)


def test_one_that_never_came_is_not_waited_for():
    mine, others = Pipe()
    others.close()
    found = waited(type("Gone", (), {"end": mine}))
    found.keep_up([1.0], 60.0)
    assert found.samples_s == [] and found.has_enough(60.0)


@pytest.mark.parametrize(
    "cell, whether",
    [
        ("point-e-nano-text/steps-8@cpu", True),
        ("point-e-nano-text/fp32@cpu", False),  # itself
        ("point-e-nano-text/w3@cpu", False),  # simulated: no latency
        ("point-e-nano-text/steps-8@orin", False),  # one's own
        ("point-e-40m-text/steps-8@cpu", False),  # large
    ],
)
def test_which_cells_have_it_beside_them(cell, whether):
    assert execution.is_beside(find(cell), extrapolate=False) is whether


def test_none_is_beside_where_threads_never_rest(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert not execution.is_beside(JOB.configuration, extrapolate=False)


def measured(job: Job = JOB):
    return execution.measure(job, session="one", board="here")


def test_a_cell_has_its_reference_from_the_same_moments():
    found = measured(replace(JOB, time_budget_s=2.0))
    assert found.status == Status.OK and found.latency is not None
    assert found.reference is not None and found.reference.configuration == "point-e-nano-text/fp32@cpu"
    assert found.reference.latency.value > 3 * found.latency.median.value
    assert found.memory is not None and found.memory.peak_memory_bytes < 200_000_000


def test_a_cell_is_held_against_its_reference_pair_by_pair(monkeypatch):
    """Which takes four steps here, as the cell does. Its record has what the ratio is made of."""
    monkeypatch.setitem(OPTIMIZATIONS, REFERENCE, replace(OPTIMIZATIONS["steps-4"], name=REFERENCE))
    found = measured(replace(JOB, configuration=find("point-e-nano-text/steps-4@cpu"), time_budget_s=60.0))
    reference = found.reference
    assert reference is not None and reference.latency_ratio is not None
    assert reference.latency_ratio == paired_ratio(found.latency.samples_s, reference.samples_s, reference.after_rounds)
    assert 0.5 < reference.latency_ratio.value < 2


def test_a_reference_that_dies_beside_it_leaves_the_cell_as_it_is(monkeypatch):
    start = execution.ReferenceBeside.start

    def killed(self) -> None:
        start(self)
        os.kill(self._started.process.pid, signal.SIGKILL)

    monkeypatch.setattr(execution.ReferenceBeside, "start", killed)
    found = measured()
    assert found.status == Status.OK and found.latency is not None and found.reference is None


def test_it_is_gone_when_the_cell_is(monkeypatch):
    seen = []
    start = execution.ReferenceBeside.start
    monkeypatch.setattr(execution.ReferenceBeside, "start", lambda self: (start(self), seen.append(self._started)))
    measured()
    (started,) = seen
    assert not started.process.is_alive()
