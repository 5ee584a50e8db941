"""One process, one configuration: load, memory pass, warm up, time, quality. Answers over a pipe, part by part.

What is finished is sent at once, so that a crash in a later part loses nothing that was measured before it.
"""

from __future__ import annotations

import contextlib
import inspect
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

from suite.configurations import Configuration
from suite.devices.backend import Backend, Board, EnergyMeter, backend_of
from suite.devices.cpu import threads
from suite.devices.health import Watch
from suite.job import Job
from suite.judging.borrowing import Committed, with_borrowed
from suite.metrics.canary import Canary
from suite.metrics.cost import measure_cost, stage_parameters
from suite.metrics.extrapolation import (
    MEMORY_EVALUATIONS,
    at_least,
    diffusion_places,
    extrapolate_extra,
    extrapolate_latency,
    few,
)
from suite.metrics.latency import StageClock, measure_latency, time_call
from suite.metrics.pictures import contact_sheet
from suite.metrics.prompts import load_prompts
from suite.metrics.quality import gallery_of, judge_of
from suite.metrics.scoring import BATCH_SIZE, measure_quality, score_part
from suite.models.pipeline import Pipeline, Stage
from suite.models.weights import WeightsAbsent
from suite.names import resolve
from suite.optimizations.composition import Optimization, UnsupportedRecipe
from suite.optimizations.precision import cast_to
from suite.records import Fingerprint, Latency, Status
from suite.sharing import Helper, Lead, parts_of, taken

TIMING_PROMPTS = {"embedded": "a small red cube on a large blue ball"}  # by prompt set; else its first
WARM_UP_CALLS = 1
EXTRA_ROUNDS = 3  # after one that warms up; extra stages are shown, not ranked
SLOW_S = 0.1  # an object: where outcomes are known, a recipe that takes longer scores FEW_PROMPTS and takes the others
FEW_PROMPTS = 4
HELP_PAYS = 2.0  # times what a helper needs to begin: less work than that is done before it comes
ENERGY_PASS_S = 2.0  # at least, and a whole call: counters and rails move every 20 to 100 ms


class Answers:
    """The worker's end of the pipe: ("phase", text, fraction or None), ("part", field, value), ("help",) when its
    helpers may start, ("end", status, reason)."""

    def __init__(self, pipe: Connection):
        self._pipe = pipe

    def phase(self, name: str, fraction: float | None = None) -> None:
        self._pipe.send(("phase", name, fraction))

    def part(self, field: str, value: object) -> None:
        self._pipe.send(("part", field, value))

    def call_for_help(self) -> None:
        self._pipe.send(("help",))

    def end(self, status: Status, reason: str | None = None) -> None:
        self._pipe.send(("end", status, reason))


def main(task: Callable[..., str | None], asked: tuple, pipe: Connection, lifeline: Connection) -> None:
    """The process's whole life: one task, `measure`, `help_scoring` or `identify`. Every failure becomes a status."""
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


def measure(job: Job, lead: Lead | None, answers: Answers) -> str | None:
    """Send the parts of a measurement; returns why the timing cannot be trusted, or None."""
    started = time.perf_counter()
    configuration = job.configuration
    backend = backend_of(configuration.device)
    meter = backend.energy_meter()  # reads the idle board
    answers.phase("loading")
    board = backend.find_board()  # asked once a cell: its power mode may have changed since the last
    device = backend.torch_device()
    canary = Canary() if backend.device.latency_limit == "latency_ratio" else None  # its limits travel between machines
    if canary is not None:
        answers.part("canary_s", canary.median_s)
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

    prompt = timing_prompt(job)
    call = lambda stage: generate(pipeline, prompt, stage, job.extrapolate)  # noqa: E731
    if not job.extra_stages:
        pipeline.extra_stages = ()
    throttle = latency = None
    if gauge is not None:
        answers.phase("memory")
        beginning_s += (first_call_s := memory_pass(call, backend, gauge, answers, outside_torch(pipeline)))
        answers.phase("latency", 0.0)
        beside = canary if configuration.is_reference else None  # only its limit is in seconds
        if job.extrapolate:
            latency, throttle = extrapolated_pass(job, pipeline, prompt, backend, meter, answers)
        else:
            latency, throttle = latency_pass(job, call, backend, first_call_s, meter, beside, answers)
            extra_pass(pipeline, prompt, backend, answers)
        cost_pass(pipeline, prompt, parameters, device, backend, answers, sparing=job.extrapolate)
    if job.quality_prompts:
        known = job.committed
        if known and (known.weights_sha256, known.gallery_sha256) != (printed.weights_sha256, printed.gallery_sha256):
            known = None
        object_s = None if latency is None else latency.median.value
        quality_pass(job, pipeline, object_s, known, lead, beginning_s, answers)
    return throttle


def help_scoring(job: Job, helper: Helper, answers: Answers) -> None:
    """Score parts of the prompts of another worker, which joins them."""
    device = backend_of(job.configuration.device).torch_device()
    torch.set_num_threads(1)
    pipeline, judge = build(job.configuration, job.weights, device), judge_of(job)
    parts = parts_of(job.quality_prompts)
    for number in taken(helper.numbers):
        helper.answers.send((number, score_part(pipeline, judge, parts[number], batch_size(job))))


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
        except Exception as error:  # noqa: BLE001 - as in main
            answers.part(configuration.id, f"{type(error).__name__}: {_first_line(error)}")


def build(configuration: Configuration, weights: str, device: torch.device) -> Pipeline:
    """The configuration's pipeline, its recipe applied."""
    return apply_recipe(configuration.optimization, load(configuration, weights, device), device)


def load(configuration: Configuration, weights: str, device: torch.device) -> Pipeline:
    """Random networks in the type that the recipe casts to, where their builder can: a float32 copy beside them would be
    taken for the recipe's own memory. Others are loaded as they are published, and cast."""
    builder = resolve(configuration.model.builder)
    dtype = cast_to(configuration.optimization)
    in_type = weights == "random" and dtype is not None and "dtype" in inspect.signature(builder).parameters
    made = builder(weights, device, dtype=dtype) if in_type else builder(weights, device)
    if not isinstance(made, Pipeline):
        name = f"{Pipeline.__module__}.{Pipeline.__name__}"
        raise TypeError(f"{configuration.model.builder} made a {type(made).__name__}, which is no subclass of {name}")
    return made


def apply_recipe(optimization: Optimization, pipeline: Pipeline, device: torch.device) -> Pipeline:
    for technique in optimization.techniques:
        pipeline = resolve(technique.apply)(pipeline, device, **technique.parameters)
    return pipeline


def timing_prompt(job: Job) -> str:
    """A prompt that the model knows: pictures on a disk are there for their captions only."""
    name = job.configuration.model.prompts
    if name in TIMING_PROMPTS:
        return TIMING_PROMPTS[name]
    try:
        return load_prompts(name).prompts[0]
    except WeightsAbsent:  # random weights need no captions, and any prompt takes as long
        return "a red motorcycle"


def generate(pipeline: Pipeline, prompt: str, stage: Stage, sparingly: bool) -> None:
    """One object; sparingly with two evaluations a diffusion stage, whose memory is that of all."""
    with few(diffusion_places(pipeline) if sparingly else {}, at_least(MEMORY_EVALUATIONS)):
        pipeline.generate([prompt], stage=stage)


def outside_torch(pipeline: Pipeline) -> bool:
    """Whether a network computes in another library, whose memory on a GPU torch's allocator does not see."""
    return any(getattr(network, "outside_torch", False) for network in pipeline.networks.values())


def memory_pass(call: Callable, backend: Backend, gauge, answers: Answers, unseen: bool = False) -> float:
    """One call, not timed as a sample: the peak of each stage. Its time is the first call's."""
    stages: dict[str, int] = {}

    class Peaks(StageClock):
        def __call__(self, name: str):
            timed = super().__call__(name)

            class Around:
                def __enter__(inner) -> None:
                    gauge.restart()
                    timed.__enter__()

                def __exit__(inner, *error) -> None:
                    timed.__exit__(*error)
                    stages[name] = max(stages.get(name, 0), gauge.peak_bytes())

            return Around()

    started = time.perf_counter()
    call(Peaks(backend.synchronize))
    backend.synchronize()
    first_call_s = time.perf_counter() - started
    memory = gauge.record(stages)
    if memory.kind == "process" or not unseen:  # what an allocator missed is not known, rather than too little
        answers.part("memory", memory)
    return first_call_s


def latency_pass(
    job: Job, call: Callable, backend: Backend, first_call_s: float, meter: EnergyMeter | None, canary: Canary | None,
    answers: Answers,
) -> tuple[Latency, str | None]:  # fmt: skip
    for _ in range(WARM_UP_CALLS):
        time_call(call, backend.synchronize)
    watch = Watch(backend)

    def between(rounds: int) -> None:
        watch.look()
        if canary is not None:
            canary.run()
        answers.phase("latency", rounds / 20)

    latency = measure_latency(
        call, backend.synchronize, first_call_s=first_call_s, time_budget_s=job.time_budget_s, progress=between
    )
    throttle = watch.throttled()
    if canary is not None:
        answers.part("canary_s", canary.median_s)
    latency = latency.model_copy(update={"warnings": latency.warnings + watch.notes()})
    answers.part("latency", latency)
    if meter is not None and (unknown := energy_pass(call, backend, meter, answers)):
        answers.part("latency", latency.model_copy(update={"warnings": [*latency.warnings, unknown]}))
    return latency, throttle


def extrapolated_pass(
    job: Job, pipeline: Pipeline, prompt: str, backend: Backend, meter: EnergyMeter | None, answers: Answers
) -> tuple[Latency, str | None]:
    """Latency, and that of other decodings, from a few evaluations. Energy would need whole objects."""
    watch = Watch(backend)
    latency = extrapolate_latency(pipeline, prompt, backend.synchronize, job.time_budget_s, watch.look)
    throttle = watch.throttled()
    notes = [*watch.notes(), *(["energy is not known: no whole object was made"] if meter is not None else [])]
    answers.part("latency", latency.model_copy(update={"warnings": latency.warnings + notes}))
    samples, details = {}, {}
    for name in pipeline.extra_stages:
        answers.phase(name)
        if (told := extrapolate_extra(pipeline, name, prompt, backend.synchronize)) is not None:
            samples[name] = [told[0]]
            details |= {name: told[1]} if told[1] is not None else {}
    if samples:
        answers.part("extra_stage_samples_s", samples)
        answers.part("extra_stage_extrapolation", details)
    return latency, throttle


def energy_pass(call: Callable, backend: Backend, meter: EnergyMeter, answers: Answers) -> str | None:
    """Calls that are not timed as samples, which a meter's thread would disturb. Returns why energy is not known."""
    answers.phase("energy")
    calls, started = 0, time.perf_counter()
    meter.start()
    while not calls or time.perf_counter() - started < ENERGY_PASS_S:
        time_call(call, backend.synchronize)
        calls += 1
    if (energy := meter.read()) is None:
        return f"energy is not known: {meter.reason}"
    answers.part("energy", energy.model_copy(update={"energy_j": energy.energy_j / calls}))
    return None


def extra_pass(pipeline: Pipeline, prompt: str, backend: Backend, answers: Answers) -> None:
    """Other decodings of the same object, timed on their own."""
    samples: dict[str, list[float]] = {}
    for name in pipeline.extra_stages:
        answers.phase(name)
        make = lambda stage, name=name: pipeline.extra(name, [prompt], stage)
        samples[name] = [time_call(make, backend.synchronize)[1][name] for _ in range(1 + EXTRA_ROUNDS)][1:]
    if samples:
        answers.part("extra_stage_samples_s", samples)


def cost_pass(
    pipeline: Pipeline,
    prompt: str,
    parameters: dict[str, int],
    device: torch.device,
    backend: Backend,
    answers: Answers,
    sparing: bool = False,
) -> None:
    """What an object costs, counted: nothing here is timed but the machine's peaks."""
    answers.phase("cost")
    try:
        answers.part("cost", measure_cost(pipeline, prompt, parameters, device, backend.synchronize, sparing))
    except Exception:  # noqa: BLE001 - a network that runs but cannot be counted is no failure: its cost is not known
        traceback.print_exc(file=sys.stderr)


def quality_pass(
    job: Job,
    pipeline: Pipeline,
    object_s: float | None,
    known: Committed | None,
    lead: Lead | None,
    beginning_s: float,
    answers: Answers,
) -> None:
    """Score the job's prompts. object_s: what one takes, where it was timed. known: outcomes of the same weights and
    gallery, which a slow recipe takes for all but a few prompts, where those few come out the same."""
    judge = judge_of(job)
    answers.phase("quality", 0.0)
    if object_s is None:
        object_s = time_call(lambda stage: pipeline.generate([judge.prompts[0]], stage=stage), lambda: None)[0]
    borrowing = known is not None and known.quality.judge == judge.name and object_s > SLOW_S
    count = min(FEW_PROMPTS, job.quality_prompts) if borrowing else job.quality_prompts
    helped = lead is not None and not borrowing and object_s * count > HELP_PAYS * (beginning_s + object_s)
    if helped:
        torch.set_num_threads(1)
        answers.call_for_help()
    quality, first = measure_quality(
        pipeline,
        judge,
        count,
        lambda done: answers.phase("quality", done / count),
        batch_size=batch_size(job),
        lead=lead if helped else None,
        diversity=not borrowing,
    )
    answers.part("quality", with_borrowed(quality, known) if borrowing else quality)
    if job.artefacts is not None:
        job.artefacts.mkdir(parents=True, exist_ok=True)
        path = job.artefacts / f"{job.configuration.slug}.png"
        contact_sheet(first, judge.prompts[: len(first)]).quantize(64).save(path, optimize=True)
        answers.part("artefacts", {"contact sheet": str(path)})


def batch_size(job: Job) -> int:
    """How many objects may be made together without being others for it."""
    return 1 if job.configuration.optimization.one_at_a_time else BATCH_SIZE


def fingerprint(job: Job, backend: Backend, board: Board, pipeline: Pipeline) -> Fingerprint:
    return Fingerprint(
        device=backend.device.name, board=board.id, chip=board.chip, driver=board.driver,
        power_mode=board.power_mode, clocks=board.clocks, python=platform.python_version(), torch=torch.__version__,
        threads=threads(), weights_sha256=pipeline.weights_sha256, gallery_sha256=gallery_of(job),
    )  # fmt: skip
