"""Scoring by several processes and in batches gives what one process gives, one object after the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch

from suite.building import build
from suite.configurations import find
from suite.devices.cpu import THREADS_VARIABLE
from suite.metrics.quality import Judge
from suite.metrics.scoring import measure_quality
from suite.metrics.sharing import CHUNK, Lead, fill, parts_of, taken
from suite.records import Quality, Status
from suite.worker import execution
from suite.worker.job import Job
from suite.worker.passes import batch_size
from tests import bad_models

FAST = "point-e-nano-text/distilled-1+copied-points@cpu"
PROMPTS = 3 * CHUNK + 2


def ranks(quality: Quality) -> list[tuple]:
    return [(o.prompt, o.rank_153, o.rank_3001) for o in quality.outcomes]


@pytest.fixture(scope="module")
def alone() -> Quality:
    """By one process, one object after the other."""
    made = build(find(FAST), "embedded", torch.device("cpu"))
    return measure_quality(made, Judge(), PROMPTS)[0]


def test_parts_hold_every_prompt_once():
    for prompts in (0, 1, CHUNK, CHUNK + 1, 153):
        parts = parts_of(prompts)
        assert [n for part in parts for n in part] == list(range(prompts))
        assert all(0 < len(part) <= CHUNK for part in parts)


def take_into(reader, results) -> None:
    for number in taken(reader):
        results.send(number)
    results.close()


def test_each_number_is_taken_by_one_process_only():
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    fill(writer, range(1, 2000))
    ends, processes = [], []
    for _ in range(3):
        heard, results = context.Pipe(duplex=False)
        processes.append(context.Process(target=take_into, args=(reader, results)))
        processes[-1].start()
        results.close()
        ends.append(heard)
    numbers = []
    for end in ends:
        while True:
            try:
                numbers.append(end.recv())
            except EOFError:
                break
    for process in processes:
        process.join()
    assert sorted(numbers) == list(range(1, 2000))


def test_a_batch_gives_the_same_ranks_as_one_at_a_time(alone):
    made = build(find(FAST), "embedded", torch.device("cpu"))
    together = measure_quality(made, Judge(), PROMPTS, batch_size=CHUNK)[0]
    assert ranks(together) == ranks(alone)
    assert (alone.batch_size, together.batch_size) == (1, CHUNK)
    for a, b in zip(alone.outcomes, together.outcomes):
        assert abs(a.margin_153 - b.margin_153) < 2e-3
    assert together.diversity.value == pytest.approx(alone.diversity.value, abs=2e-3)


def test_what_depends_on_the_batch_at_hand_is_made_one_at_a_time():
    sizes = {
        recipe: batch_size(Job(find(f"point-e-nano-text/{recipe}@cpu"), "embedded", quality_prompts=8))
        for recipe in (
            "fp32",
            "distilled-2",
            "int8-fbgemm-linear",
            "steps-16+int8-onnx-dynamic",
            "compile",
            "onnx",
            "w3",
        )
    }
    assert sizes == {
        "fp32": CHUNK,
        "distilled-2": CHUNK,
        "int8-fbgemm-linear": 1,
        "steps-16+int8-onnx-dynamic": 1,
        "compile": 1,
        "onnx": CHUNK,
        "w3": CHUNK,
    }


def helped(job: Job, before=lambda crew: None) -> tuple[Quality, list]:
    """The quality that this process finds with helpers; before: what happens once they have started."""
    made = build(job.configuration, "embedded", torch.device("cpu"))
    with execution.Crew(job) as crew:
        crew.start()
        before(crew)
        quality = measure_quality(made, Judge(), job.quality_prompts, batch_size=CHUNK, lead=crew.lead)[0]
        return quality, list(crew._started)


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setenv(THREADS_VARIABLE, "2")


def test_helpers_give_the_same_ranks_and_are_gone_afterwards(alone, two_processes):
    quality, started = helped(Job(find(FAST), "embedded", quality_prompts=PROMPTS))
    assert ranks(quality) == ranks(alone)
    assert len(started) == 1
    assert not any(one.process.is_alive() for one in started)


def test_a_helper_does_parts_of_the_work(alone, two_processes):
    """This process waits until the helper has done all that it leaves to it."""
    job = Job(find(FAST), "embedded", quality_prompts=PROMPTS)
    answers = {}

    def wait_for_all(crew):
        deadline = time.monotonic() + 300
        while len(answers) < len(parts_of(PROMPTS)) - 1 and time.monotonic() < deadline:
            answers.update(crew.lead.answers(patience_s=1))

    quality, _ = helped(job, wait_for_all)
    assert set(answers) == set(range(1, len(parts_of(PROMPTS))))
    assert [o for number in sorted(answers) for o in answers[number].outcomes][:3] == quality.outcomes[
        CHUNK : CHUNK + 3
    ]


def test_what_a_killed_helper_took_is_made_by_the_first(alone, two_processes):
    def kill(crew):
        (started,) = crew._started
        os.kill(started.process.pid, signal.SIGKILL)
        started.process.join()

    quality, _ = helped(Job(find(FAST), "embedded", quality_prompts=PROMPTS), kill)
    assert ranks(quality) == ranks(alone)


def test_a_number_that_a_dead_helper_held_is_made_by_the_first(alone):
    """It took a part, and died before it answered."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    fill(writer, range(1, len(parts_of(PROMPTS))))
    heard, answers = context.Pipe(duplex=False)
    assert next(taken(reader)) == 1
    answers.close()
    made = build(find(FAST), "embedded", torch.device("cpu"))
    quality = measure_quality(made, Judge(), PROMPTS, batch_size=CHUNK, lead=Lead(reader, (heard,)))[0]
    assert ranks(quality) == ranks(alone)


def test_a_worker_calls_its_helpers_when_its_timing_is_done(alone, two_processes, monkeypatch):
    events = []
    start = execution.Crew.start
    monkeypatch.setattr(execution.Crew, "start", lambda crew: events.append("helpers") or start(crew))
    job = Job(find(FAST), "embedded", quality_prompts=153, time_budget_s=0.1)
    measured = execution.measure(job, session="s", board="b", progress=lambda phase, fraction: events.append(phase))
    assert measured.status == Status.OK, measured.reason
    assert ranks(measured.quality)[:PROMPTS] == ranks(alone)
    phases = list(dict.fromkeys(events))
    assert phases.index("latency") < phases.index("cost") < phases.index("quality") <= phases.index("helpers")


def test_a_model_that_breaks_while_it_is_scored_is_a_status_with_helpers_too(two_processes):
    job = Job(bad_models.configuration("late_crash"), "embedded", quality_prompts=40, time_budget_s=0.1)
    measured = execution.measure(job, session="s", board="b")
    assert measured.status == Status.CRASHED and measured.latency is not None
