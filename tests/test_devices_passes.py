"""The worker's passes around a device: what is read inside timed samples, between them, and in a pass of its own."""

from __future__ import annotations

import types

import pytest

from suite.devices.health import Health
from suite.models.pipeline import Pipeline
from suite.records import Energy
from suite.worker import passes
from suite.worker.job import Job


class Board:
    """A backend and a meter that write down when they are asked."""

    def __init__(self, reason: str | None = None, slowing: tuple[str, ...] = ()):
        self.events: list[str] = []
        self.reason, self.slowing = reason, slowing

    def synchronize(self) -> None:
        pass

    def throttle_marks(self) -> dict[str, int]:
        self.events.append("marks")
        return {}

    def health(self) -> Health:
        self.events.append("health")
        return Health(temperature_c=50.0, slowing=self.slowing)

    def start(self) -> None:
        self.events.append("start")

    def read(self) -> Energy | None:
        self.events.append("read")
        return None if self.reason else Energy(rails=["a rail"], energy_j=12.0)


class Made(Pipeline):
    """A pipeline that writes down that it was asked."""

    def __init__(self, board: Board):
        self.model, self.networks, self.weights_sha256, self.board = "made", {}, None, board

    def make(self, prompts, sample, stage):
        with stage("decoder"):
            self.board.events.append("call")


JOB = Job(configuration=types.SimpleNamespace(), weights="embedded", quality_prompts=0, time_budget_s=5.0)


class Answers:
    def __init__(self):
        self.parts: dict[str, object] = {}

    def phase(self, name, fraction=None) -> None:
        pass

    def part(self, field, value) -> None:
        self.parts[field] = value


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(passes, "ENERGY_PASS_S", 0.0)

    def run(board: Board, meter: Board | None) -> tuple[str | None, dict]:
        answers = Answers()
        _, throttle = passes.latency_pass(passes.Run(JOB, Made(board), board, answers, "a prompt", meter), 0.1)
        return throttle, answers.parts

    return run


def test_energy_is_counted_after_the_last_sample_and_the_board_is_looked_at_between_them(run):
    board = Board()
    throttle, parts = run(board, board)
    rounds = len(parts["latency"].samples_s)
    assert board.events == [
        "call",  # warm-up
        "health",
        "marks",
        *["marks", "call", "health", "marks"] * rounds,
        "marks",
        "start",
        "call",
        "read",
    ]
    assert parts["energy"].energy_j == 12.0 and throttle is None


def test_energy_of_several_calls_is_that_of_one_object(run, monkeypatch):
    board = Board()
    clock = iter(range(1000))
    monkeypatch.setattr(passes, "ENERGY_PASS_S", 5.0)
    monkeypatch.setattr(passes.time, "perf_counter", lambda: float(next(clock)))
    answers = Answers()
    run = passes.Run(JOB, Made(board), board, answers, "a prompt")
    assert passes.energy_pass(run, board) is None
    calls = board.events.count("call")
    assert calls > 0 and answers.parts["energy"].energy_j == 12.0 / calls


def test_energy_that_is_not_known_is_null_and_the_record_says_why(run):
    board = Board(reason="1 of 40 readings of the rails failed")
    _, parts = run(board, board)
    assert "energy" not in parts
    assert parts["latency"].warnings[-2:] == [
        "health: 50.0 °C before and 50.0 °C at most",
        "energy is not known: 1 of 40 readings of the rails failed",
    ]


def test_a_board_without_a_meter_makes_no_energy_pass(run):
    board = Board()
    _, parts = run(board, None)
    assert "energy" not in parts and board.events[-1] == "marks"


def test_a_board_that_is_held_back_is_throttled(run):
    throttle, _ = run(Board(slowing=("gpu-throttle-alert",)), None)
    assert "gpu-throttle-alert is held back" in throttle
