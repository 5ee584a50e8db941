"""The canary: what tells how fast the processor is while the reference is timed."""

from __future__ import annotations

from statistics import median

import suite.metrics.canary as canary_module
from suite.metrics.canary import ROUNDS, ROUNDS_BETWEEN, Canary


def test_it_takes_a_time_above_nothing_and_forgets_its_first_calls():
    canary = Canary()
    assert len(canary.samples_s) == ROUNDS
    assert 0 < canary.median_s < 1


def test_a_machine_that_slows_down_while_it_is_timed_is_seen(monkeypatch):
    """Before the load 1 ms, then 4 ms between the rounds: the limit grows with what the rounds met."""
    clock = {"now": 0.0, "step": 0.001}

    def perf_counter() -> float:
        clock["now"] += clock["step"] / 2
        return clock["now"]

    monkeypatch.setattr(canary_module.time, "perf_counter", perf_counter)
    canary = Canary()
    before = canary.median_s
    clock["step"] = 0.004
    for _ in range(ROUNDS):
        canary.run()
    assert len(canary.samples_s) == ROUNDS + ROUNDS * ROUNDS_BETWEEN
    assert canary.median_s == median(canary.samples_s)
    assert canary.median_s / before > 3.9
