"""The reference timed in turn with a cell's rounds, by a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from multiprocessing import Pipe

import pytest

from suite.configurations import find
from suite.metrics import beside
from suite.metrics.beside import Beside
from suite.metrics.latency import MIN_ROUNDS
from suite.records import Status
from suite.worker import execution
from suite.worker.job import Job

JOB = Job(find("point-e-nano-text/distilled-2@cpu"), "embedded", 0, time_budget_s=0.1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(beside, "CALM_S", 0.0)


class Other:
    """The other process, in a thread: an object takes so many seconds, and there are so many."""

    def __init__(self, seconds: float = 1.0, objects: int = 100):
        self.end, own = Pipe()

        def serve() -> None:
            own.send(None)
            for _ in range(objects):
                try:
                    own.recv()
                except EOFError:
                    break
                own.send(seconds)
            own.close()

        threading.Thread(target=serve, daemon=True).start()


def waited(other: Other) -> Beside:
    found = Beside(other.end)
    found.wait()
    return found


def test_of_a_slow_cell_each_round_has_an_object_beside_it():
    found = waited(Other())
    for round_ in range(1, 9):
        found.keep_up(2.0 * round_)
    assert found.samples_s == [1.0] * 8


def test_a_fast_cell_waits_for_few_objects_and_in_the_end_there_are_enough():
    found = waited(Other())
    for round_ in range(1, 21):
        found.keep_up(0.02 * round_)
    assert len(found.samples_s) == 1
    found.finish(60.0)
    assert len(found.samples_s) == MIN_ROUNDS


def test_they_take_no_longer_than_the_time_that_a_cell_has():
    found = waited(Other(seconds=3.0))
    found.keep_up(0.1)
    found.finish(5.0)
    assert len(found.samples_s) == 2


@pytest.mark.parametrize("objects", [0, 2])
def test_where_nobody_answers_any_more_there_is_what_was_made(objects):
    found = waited(Other(objects=objects))
    for _ in range(4):
        found.keep_up(60.0)
    found.finish(60.0)
    assert found.samples_s == [1.0] * objects


def test_one_that_never_came_is_not_waited_for():
    mine, others = Pipe()
    others.close()
    found = waited(type("Gone", (), {"end": mine}))
    found.keep_up(1.0)
    found.finish(60.0)
    assert found.samples_s == []


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
