"""One process, one task: load, memory pass, warm up, time, quality. Answers in parts over a pipe: docs/worker.md."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from suite.building import apply_recipe, build, load
from suite.catalogue.recipes import UnsupportedRecipe
from suite.devices.backend import Backend, Board, backend_of
from suite.devices.cpu import threads
from suite.devices.health import Watch
from suite.devices.settings import settings
from suite.judging.borrowing import Committed
from suite.metrics.beside import CALM_S, Beside
from suite.metrics.canary import Canary
from suite.metrics.cost import stage_parameters
from suite.metrics.scoring import score_part
from suite.metrics.sharing import Helper, Lead, parts_of, taken
from suite.models.checkpoints.embedded import WeightsAbsent
from suite.models.pipeline import Pipeline
from suite.prompts import timing_prompt
from suite.records import Fingerprint, Status
from suite.worker.job import Answers, Job
from suite.worker.looking import look  # noqa: F401 - a task
from suite.worker.passes import (
    Run,
    batch_size,
    cost_pass,
    extra_pass,
    extrapolated_pass,
    gallery_of,
    judge_of,
    latency_pass,
    memory_pass,
    quality_pass,
)


def main(task: Callable[..., str | None], asked: tuple, pipe: Connection, lifeline: Connection) -> None:
    """The process's whole life: one task (docs/worker.md). Every failure becomes a status."""
    threading.Thread(target=_die_with, args=(lifeline,), daemon=True).start()
    _die_first()
    answers = Answers(pipe)
    try:
        throttle = task(*asked, answers)
        answers.end(Status.THROTTLED if throttle else Status.OK, throttle)
    except UnsupportedRecipe as error:
        answers.end(Status.UNSUPPORTED, str(error))
    except WeightsAbsent as error:
        answers.end(Status.NEEDS_WEIGHTS, str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        answers.end(Status.OUT_OF_MEMORY, _first_line(error))
    except Exception as error:  # noqa: BLE001 - whatever a model does, the matrix goes on
        # torch's CPU allocator, and CUDA outside torch's, have no error class of their own.
        full = isinstance(error, RuntimeError) and any(w in str(error) for w in ("allocate memory", "out of memory"))
        traceback.print_exc(file=sys.stderr)
        answers.end(Status.OUT_OF_MEMORY if full else Status.CRASHED, f"{type(error).__name__}: {_first_line(error)}")
    pipe.close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _die_with(lifeline: Connection) -> None:
    """End at once when the parent is gone: an orphan would disturb the next measurement."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        pass
    os._exit(1)


def _die_first() -> None:
    """Where memory runs out, the kernel ends this process, which has a status for it, and not the session."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def measure(job: Job, lead: Lead | None, other: Connection | None, answers: Answers) -> str | None:
    """Send the parts of a measurement; returns why the timing cannot be trusted, or None. other: the pipe to the
    process that makes the reference's objects."""
    started = time.perf_counter()
    configuration = job.configuration
    backend = backend_of(configuration.device)
    meter = backend.energy_meter()  # reads the idle board
    answers.phase("loading")
    board = backend.find_board()  # asked once a cell: its power mode may have changed since the last
    device = backend.torch_device()
    canary = Canary() if backend.device.limits_travel else None
    if canary is not None:
        answers.part("canary_s", canary.median_s)
    for module in (*configuration.model.modules, *configuration.optimization.modules):
        importlib.import_module(module)
    # A simulated recipe would show the imitation's memory and time, not its own.
    gauge = None if configuration.optimization.simulated else backend.memory_gauge()
    pipeline = load(configuration, job.weights, device)
    # Before the recipe: a quantized layer packs its weights away.
    parameters = stage_parameters(pipeline)
    answers.part("parameters", sum(parameters.values()) or None)
    pipeline = apply_recipe(configuration.optimization, pipeline, device)
    backend.synchronize()
    if gauge is not None:
        gauge.loaded()
    answers.part("evaluations", pipeline.evaluations)
    printed = fingerprint(job, backend, board, pipeline)
    answers.part("fingerprint", printed)
    beginning_s = time.perf_counter() - started

    own = canary if configuration.is_reference else None  # only its limit is in seconds
    beside = None if other is None else Beside(other)
    run = Run(job, pipeline, backend, answers, timing_prompt(configuration.model.prompts), meter, own, beside)
    if not job.extra_stages:
        pipeline.extra_stages = ()
    throttle = latency = None
    if gauge is not None:
        answers.phase("memory")
        beginning_s += (first_call_s := memory_pass(run, gauge))
        answers.phase("latency", 0.0)
        if job.extrapolate:
            latency, throttle = extrapolated_pass(run)
        else:
            latency, throttle = latency_pass(run, first_call_s)
            extra_pass(run, latency)
        cost_pass(run, parameters, device)
    if job.quality_prompts:
        object_s = None if latency is None else latency.median.value
        quality_pass(run, object_s, lead, beginning_s, _of_the_same(printed, job.committed))
    return throttle


def _of_the_same(printed: Fingerprint, known: Committed | None) -> Committed | None:
    """Outcomes that others found with these weights and this gallery."""
    ours = (printed.weights_sha256, printed.gallery_sha256)
    return known if known and (known.weights_sha256, known.gallery_sha256) == ours else None


def help_scoring(job: Job, helper: Helper, answers: Answers) -> None:
    """Score parts of the prompts of another worker, which joins them."""
    device = backend_of(job.configuration.device).torch_device()
    torch.set_num_threads(1)
    pipeline, judge = build(job.configuration, job.weights, device), judge_of(job)
    parts = parts_of(job.quality_prompts)
    for number in taken(helper.numbers):
        helper.answers.send((number, score_part(pipeline, judge, parts[number], batch_size(job), samples=job.samples)))


def make_beside(job: Job, pipe: Connection, answers: Answers) -> None:
    """Make and time an object of the reference whenever the worker of a cell asks, and say what disturbed it. The first
    word says that it can."""
    backend = backend_of(job.configuration.device)
    pipeline = build(job.configuration, job.weights, backend.torch_device())
    run = Run(job, pipeline, backend, answers, timing_prompt(job.configuration.model.prompts))
    run.timed()
    watch, made = Watch(backend), None
    with contextlib.suppress(EOFError, OSError):  # the cell is done
        while True:
            time.sleep(CALM_S)
            pipe.send(made)
            pipe.recv()
            watch.begin()
            seconds, _ = run.timed()
            made = (seconds, watch.disturbed(seconds))


def identify(jobs: list[Job], answers: Answers) -> None:
    """Send the fingerprint that a measurement of each job would have, or why it cannot be loaded."""
    for job in jobs:
        configuration = job.configuration
        answers.phase(f"loading {configuration.id}")
        try:
            backend = backend_of(configuration.device)
            board = backend.find_board()
            pipeline = build(configuration, job.weights, backend.torch_device())
            answers.part(configuration.id, fingerprint(job, backend, board, pipeline))
            del pipeline  # before the next is loaded beside it
        except UnsupportedRecipe as error:
            answers.part(configuration.id, f"{Status.UNSUPPORTED.value}: {error}")
        except Exception as error:  # noqa: BLE001 - as in main
            answers.part(configuration.id, f"{type(error).__name__}: {_first_line(error)}")


def fingerprint(job: Job, backend: Backend, board: Board, pipeline: Pipeline) -> Fingerprint:
    return Fingerprint(
        device=backend.device.name,
        board=board.id,
        chip=board.chip,
        driver=board.driver,
        power_mode=board.power_mode,
        clocks=board.clocks,
        python=platform.python_version(),
        torch=torch.__version__,
        threads=threads(),
        weights_sha256=pipeline.weights_sha256,
        gallery_sha256=gallery_of(job),
        settings=settings(),
    )
