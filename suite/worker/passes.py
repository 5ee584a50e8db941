"""The passes of a cell, in their order: memory, latency, energy, other decodings, cost, quality.

What a pass finds is sent at once, so that a crash in a later one loses nothing that was measured before it.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from suite import sheets
from suite.devices.backend import Backend, EnergyMeter, MemoryGauge
from suite.devices.health import Watch
from suite.judging.borrowing import Committed, with_borrowed
from suite.judging.intervals import latency_interval
from suite.judging.latency_units import paired_ratio
from suite.judging.stopping import Clerk
from suite.metrics.beside import Beside
from suite.metrics.canary import Canary
from suite.metrics.cost import measure_cost
from suite.metrics.extrapolation import (
    MEMORY_EVALUATIONS,
    at_least,
    diffusion_places,
    extrapolate_extra,
    extrapolate_latency,
    only_first_calls,
)
from suite.metrics.keeping import keep_objects
from suite.metrics.latency import Rounds, StageClock, measure_latency, time_call
from suite.metrics.pictures import single_views
from suite.metrics.quality import Judge, gallery_sha256
from suite.metrics.scoring import BATCH_SIZE, measure_quality
from suite.metrics.seen import why_not_finite
from suite.metrics.sharing import Lead
from suite.metrics.timeline import Timeline
from suite.models.checkpoints.embedded import WeightsAbsent
from suite.models.finite import NotFinite
from suite.models.pipeline import Objects, Pipeline, Stage
from suite.objects import FOLDER
from suite.records import Latency, PromptOutcome, Reference
from suite.worker.clock import now
from suite.worker.job import Answers, Job

WARM_UP_CALLS = 1
EXTRA_ROUNDS = 3  # after one that warms up; extra stages are shown, not ranked
SLOW_S = 0.1  # an object: where outcomes are known, a recipe that takes longer scores FEW_PROMPTS and takes the others
FEW_PROMPTS = 4
HELP_PAYS = 2.0  # times what a helper needs to begin: less work than that is done before it comes
ENERGY_PASS_S = 2.0  # at least, and a whole call: counters and rails move every 20 to 100 ms


@dataclass
class Run:
    """What the passes of one cell work with."""

    job: Job
    pipeline: Pipeline
    backend: Backend
    answers: Answers
    prompt: str  # that is timed
    meter: EnergyMeter | None = None
    canary: Canary | None = None  # timed beside the rounds, of a cell whose limit is in seconds and travels
    beside: Beside | None = None  # the reference, timed in turn with it
    notes: list[str] = field(default_factory=list)  # of what was seen besides: for the latency's warnings

    def make(self, stage: Stage) -> Objects:
        """One object; where its latency is extrapolated with two evaluations a diffusion stage, whose memory is that of
        all."""
        sparingly = self.job.extrapolate
        with only_first_calls(diffusion_places(self.pipeline) if sparingly else {}, at_least(MEMORY_EVALUATIONS)):
            return self.pipeline.generate([self.prompt], stage=stage)

    def timed(self) -> tuple[float, Mapping[str, float]]:
        """Seconds of an object, and of its stages."""
        return time_call(self.make, self.backend.synchronize)


def outside_torch(pipeline: Pipeline) -> bool:
    """Whether a network computes in another library, whose memory on a GPU torch's allocator does not see."""
    return any(getattr(network, "outside_torch", False) for network in pipeline.networks.values())


def memory_pass(run: Run, gauge: MemoryGauge) -> float:
    """One call, not timed as a sample: the peak of each stage. Returns its seconds, the first call's."""
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
    with Timeline(getattr(gauge, "level_bytes", None)) as timeline:  # a gauge of another package may have none
        made = run.make(Peaks(run.backend.synchronize))
        run.backend.synchronize()
    first_call_s = time.perf_counter() - started
    memory = gauge.record(stages)
    # What an allocator missed is not known, rather than too little.
    if memory is not None and (memory.kind == "process" or not outside_torch(run.pipeline)):
        run.answers.part("memory", memory.model_copy(update={"timeline": timeline.points}))
    look_at(run, made)
    return first_call_s


def look_at(run: Run, made: Objects) -> None:
    """The first object. Seconds of one that is none are of no use: NotFinite. But neither random weights nor repeated
    answers promise an object, only its time."""
    if not (faults := faults_of(made)):
        return
    if run.job.weights != "random" and not run.job.extrapolate:
        raise NotFinite(f"the object of {run.prompt!r} is {faults[0]}")
    run.notes.append(f"its object is {faults[0]}")


def faults_of(made: Any, rows: str = "points") -> list[str]:
    """What of objects, or of pictures, is not finite; nothing is known of what is neither."""
    known = made if isinstance(made, (Tensor, list)) else []
    return [fault for one in known if (fault := why_not_finite(one, rows))]


def latency_pass(run: Run, first_call_s: float) -> tuple[Latency, str | None]:
    """Whole objects; returns the latency, and why it cannot be trusted."""
    if run.beside is not None:
        run.answers.call_for_reference()
    for _ in range(WARM_UP_CALLS):
        run.timed()
    if run.beside is not None:
        run.beside.wait()
    watch = Watch(run.backend)

    def between(rounds: Rounds) -> bool:
        if run.canary is not None:
            run.canary.run()
        run.answers.phase("latency", len(rounds.samples_s) / 20)
        if run.beside is None:
            return True
        with watch.elsewhere():
            run.beside.keep_up(rounds.samples_s, run.job.time_budget_s)
        return run.beside.has_enough(run.job.time_budget_s)

    latency = measure_latency(
        run.make,
        run.backend.synchronize,
        first_call_s=first_call_s,
        time_budget_s=run.job.time_budget_s,
        between=between,
        witness=watch,
    )
    throttle = watch.throttled()
    if run.beside is not None:
        reference_beside(run, run.beside, latency.samples_s)
    if run.canary is not None:
        run.answers.part("canary_s", run.canary.median_s)
    latency = warned(latency, [*watch.notes(), *run.notes])
    run.answers.part("latency", latency)
    if run.meter is not None and (unknown := energy_pass(run, run.meter)):
        latency = warned(latency, [unknown])
        run.answers.part("latency", latency)
    return latency, throttle


def reference_beside(run: Run, beside: Beside, rounds_s: Sequence[float]) -> None:
    """What was made in turn with the cell's rounds, if anything was."""
    beside.finish()
    if beside.samples_s:
        reference = Reference(
            configuration=run.job.configuration.reference.id,
            latency=latency_interval(beside.samples_s),
            measured_at=now(),
            samples_s=beside.samples_s,
            after_rounds=beside.after_rounds,
            latency_ratio=paired_ratio(rounds_s, beside.samples_s, beside.after_rounds),
        )
        run.answers.part("reference", reference)


def warned(latency: Latency, notes: list[str]) -> Latency:
    return latency.model_copy(update={"warnings": latency.warnings + notes})


def extrapolated_pass(run: Run) -> tuple[Latency, str | None]:
    """Latency, and that of other decodings, from a few evaluations. Energy would need whole objects."""
    synchronize, watch = run.backend.synchronize, Watch(run.backend)
    latency = extrapolate_latency(run.pipeline, run.prompt, synchronize, run.job.time_budget_s, watch.look)
    throttle = watch.throttled()
    unknown = ["energy is not known: no whole object was made"] if run.meter is not None else []
    run.answers.part("latency", warned(latency, [*watch.notes(), *run.notes, *unknown]))
    samples, details = {}, {}
    for name in run.pipeline.extra_stages:
        run.answers.phase(name)
        if (told := extrapolate_extra(run.pipeline, name, run.prompt, synchronize)) is not None:
            samples[name] = [told[0]]
            details |= {name: told[1]} if told[1] is not None else {}
    if samples:
        run.answers.part("extra_stage_samples_s", samples)
        run.answers.part("extra_stage_extrapolation", details)
    return latency, throttle


def energy_pass(run: Run, meter: EnergyMeter) -> str | None:
    """Calls that are not timed as samples, which a meter's thread would disturb. Returns why energy is not known."""
    run.answers.phase("energy")
    calls, started = 0, time.perf_counter()
    meter.start()
    while not calls or time.perf_counter() - started < ENERGY_PASS_S:
        run.timed()
        calls += 1
    if (energy := meter.read()) is None:
        return f"energy is not known: {meter.reason}"
    run.answers.part("energy", energy.model_copy(update={"energy_j": energy.energy_j / calls}))
    return None


def extra_pass(run: Run, latency: Latency) -> None:
    """Other decodings of the same object, timed on their own. What they give that is not finite, the latency says."""
    samples: dict[str, list[float]] = {}
    faults: list[str] = []
    for name in run.pipeline.extra_stages:
        run.answers.phase(name)
        made: Any = None

        def decode(stage: Stage) -> None:
            nonlocal made
            made = run.pipeline.extra(name, [run.prompt], stage)

        samples[name] = [time_call(decode, run.backend.synchronize)[1][name] for _ in range(1 + EXTRA_ROUNDS)][1:]
        faults += [f"{name}: {fault}" for fault in faults_of(made, "pictures")]
    if samples:
        run.answers.part("extra_stage_samples_s", samples)
    if faults:
        run.answers.part("latency", warned(latency, faults))


def cost_pass(run: Run, parameters: Mapping[str, int], device: torch.device) -> None:
    """What an object costs, counted: nothing here is timed but the machine's peaks."""
    run.answers.phase("cost")
    sparing = run.job.extrapolate
    try:
        cost = measure_cost(run.pipeline, run.prompt, parameters, device, run.backend.synchronize, sparing)
        run.answers.part("cost", cost)
    except Exception:  # noqa: BLE001 - a network that runs but cannot be counted is no failure: its cost is not known
        traceback.print_exc(file=sys.stderr)


def quality_pass(
    run: Run, object_s: float | None, lead: Lead | None, beginning_s: float, known: Committed | None
) -> None:
    """Score the job's prompts. object_s: what one takes, where it was timed. known: outcomes of the same weights and
    gallery, which a slow recipe takes for all but a few prompts, where those few come out the same. beginning_s: what a
    helper needs to begin."""
    job, pipeline, answers = run.job, run.pipeline, run.answers
    judge = judge_of(job)
    answers.phase("quality", 0.0)
    if object_s is None:
        object_s = time_call(lambda stage: pipeline.generate([judge.prompts[0]], stage=stage), lambda: None)[0]
    borrowing = known is not None and known.quality.judge == judge.name and object_s > SLOW_S
    count = min(FEW_PROMPTS, job.quality_prompts) if borrowing else job.quality_prompts
    clerk = (
        Clerk(job.stopping, judge.name, judge.gallery_sha256) if job.stopping is not None and not borrowing else None
    )
    # Helpers have their parts from the job's number of prompts, so that number stays; scoring ends on its way there.
    most = count if clerk is None else min(count, clerk.most(judge.prompts))

    def enough(outcomes: list[PromptOutcome]) -> bool:
        return len(outcomes) >= most or (clerk is not None and clerk.why_enough(outcomes) is not None)

    helped = lead is not None and not borrowing and object_s * most > HELP_PAYS * (beginning_s + object_s)
    if helped:
        torch.set_num_threads(1)
        answers.call_for_help()
    quality, first = measure_quality(
        pipeline,
        judge,
        count,
        lambda done: answers.phase("quality", min(1.0, done / most)),
        batch_size=batch_size(job),
        samples=1 if borrowing else job.samples,
        lead=lead if helped else None,
        diversity=not borrowing,
        enough=enough,
    )
    if clerk is not None:
        quality = clerk.concluded(quality, most)
    answers.part("quality", with_borrowed(quality, known) if borrowing else quality)
    if job.artefacts is not None:
        keep_looks(job, answers, first, judge.prompts[: len(first)])


def keep_looks(job: Job, answers: Answers, objects: Objects, prompts: Sequence[str]) -> None:
    """A contact sheet and a few objects. What cannot be written is lost to looking only: every figure is sent."""
    pictures = single_views(objects)
    path = job.artefacts / f"{job.configuration.slug}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheets.contact_sheet(pictures, prompts).quantize(64).save(path, optimize=True)
        answers.part("artefacts", {"contact sheet": str(path)})
    except OSError as error:
        print(f"{job.configuration.id}: no contact sheet: {error}", file=sys.stderr)
    answers.part("objects", keep_objects(job.artefacts / FOLDER, objects, prompts, pictures))


def judge_of(job: Job) -> Judge:
    return Judge(job.configuration.model.prompts, job.judge, job.prompts)


def gallery_of(job: Job) -> str | None:
    """What a job's fingerprint says of its gallery, whether it is scored now or not; None where it never can be."""
    if job.weights == "random":
        return None
    try:
        return gallery_sha256(job.configuration.model.prompts, job.prompts)
    except WeightsAbsent:
        return None


def batch_size(job: Job) -> int:
    """How many objects may be made together without being others for it."""
    return 1 if job.configuration.optimization.one_at_a_time else BATCH_SIZE
