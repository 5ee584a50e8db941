"""The reference timed in turn with a cell's rounds, by a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from multiprocessing import Pipe
from random import Random
from statistics import geometric_mean

import pytest

from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE
from suite.configurations import find
from suite.judging.intervals import latency_interval, ratio, relative_half_width
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
    """The other process, in a thread: its objects take these seconds, and then it ends."""

    def __init__(self, seconds: Sequence[float] = [1.0] * 100):
        self.end, own = Pipe()

        def serve() -> None:
            own.send(None)
            for one in seconds:
                try:
                    own.recv()
                except EOFError:
                    break
                own.send(one)
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
    found.finish()
    return found


def test_of_a_slow_cell_each_round_has_an_object_beside_it():
    assert timed(Other(), [2.0] * 8).samples_s == [1.0] * 8


def test_beside_a_fast_cell_there_are_as_many_as_it_has_rounds_at_least():
    assert len(timed(Other(), [0.02] * 20).samples_s) == MIN_ROUNDS


def test_they_take_no_longer_than_the_time_that_a_cell_has():
    assert len(timed(Other([3.0] * 9), [0.1] * 9, time_s=5.0).samples_s) == 2


SPEED = [1.0, 1.1, 1.5, 1.4, 1.9, 2.0, 1.8, 1.3]  # of a machine whose neighbours come and go


def test_pairs_know_nothing_of_how_the_machine_s_speed_moves():
    found = timed(Other(SPEED), [1.5 * s for s in SPEED])
    told = found.latency_ratio()
    assert (told.low, told.value, told.high) == pytest.approx((1.5, 1.5, 1.5))
    apart = ratio(latency_interval([1.5 * s for s in SPEED]), latency_interval(found.samples_s))
    assert relative_half_width(apart) > 0.2


def test_an_object_is_paired_with_all_rounds_since_the_one_before_it():
    """After the first rounds, beside a cell that is three times as fast: their mean counts."""
    found = timed(Other(), [0.3] * 5 + [0.2, 0.3, 0.4] * 10)
    assert len(found.samples_s) == 11
    assert found.latency_ratio().value == pytest.approx(geometric_mean([0.2, 0.3, 0.4]), rel=0.02)


def test_of_few_pairs_nothing_is_told():
    assert timed(Other([1.0] * 4), [2.0] * 9).latency_ratio() is None


def test_a_round_that_was_set_aside_is_in_no_pair():
    """Nothing is new after it, so nothing is made."""
    found = waited(Other())
    for kept in (1, 1, 1, 2):
        found.keep_up([3.0] * kept, 60.0)
    assert found.samples_s == [1.0] * 2


def test_the_interval_of_pairs_holds_the_truth_19_times_of_20():
    """A machine whose speed walks, and samples that scatter besides: 400 cells."""
    random, within = Random(19), 0
    for _ in range(400):
        speed, seconds, others = 0.0, [], []
        for _ in range(MIN_ROUNDS):
            speed += random.gauss(0, 0.2)
            seconds.append(1.3 * exp(speed + random.gauss(0, 0.03)))
            others.append(exp(speed + random.gauss(0, 0.03)))
        told = timed(Other(others), seconds).latency_ratio()
        within += told is not None and told.low <= 1.3 <= told.high
    assert 0.92 * 400 < within < 0.985 * 400


@pytest.mark.parametrize("objects", [0, 2])
def test_where_nobody_answers_any_more_there_is_what_was_made(objects):
    found = timed(Other([1.0] * objects), [15.0] * 4)
    assert found.samples_s == [1.0] * objects


def test_one_that_never_came_is_not_waited_for():
    mine, others = Pipe()
    others.close()
    found = waited(type("Gone", (), {"end": mine}))
    found.keep_up([1.0], 60.0)
    assert found.samples_s == [] and found.latency_ratio() is None


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
    """Which takes four steps here, as the cell does."""
    monkeypatch.setitem(OPTIMIZATIONS, REFERENCE, replace(OPTIMIZATIONS["steps-4"], name=REFERENCE))
    found = measured(replace(JOB, configuration=find("point-e-nano-text/steps-4@cpu"), time_budget_s=60.0))
    assert found.reference is not None and (told := found.reference.latency_ratio) is not None
    assert 0.5 < told.value < 2 and found.speedup == 1 / told.value


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
