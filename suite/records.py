"""What is measured and published, as validated data and nothing else.

Every record refuses unknown keys by name. A value that is not known is None (null in JSON), never 0.
Fractions are 0–1; units stand in the names (`_s` seconds, `_bytes`, `_j` joules, `_w` watts).
"""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from suite.fields import (
    Bytes,
    CleanText,
    ConfigurationId,
    Count,
    Difference,
    FileName,
    Fraction,
    Joules,
    LatencySeconds,
    PeakBytes,
    Place,
    PlainName,
    Ratio,
    RecipeName,
    Seconds,
    ShortText,
    UtcTime,
    within,
)
from suite.outcomes import GALLERY_SIZE as GALLERY_SIZE
from suite.outcomes import Attribute as Attribute
from suite.outcomes import Borrowed as Borrowed
from suite.outcomes import Distance as Distance
from suite.outcomes import Ending as Ending
from suite.outcomes import Interval as Interval
from suite.outcomes import KeptObject as KeptObject
from suite.outcomes import MeshFacts as MeshFacts
from suite.outcomes import MeshGate as MeshGate
from suite.outcomes import NonInferiority as NonInferiority
from suite.outcomes import PromptOutcome as PromptOutcome
from suite.outcomes import Quality as Quality
from suite.outcomes import Record as Record
from suite.outcomes import SecondOpinion as SecondOpinion
from suite.outcomes import Share as Share
from suite.outcomes import ShareDifference as ShareDifference
from suite.outcomes import StartOutcome as StartOutcome
from suite.outcomes import Stopped as Stopped

SCHEMA_VERSION = 1
PROTOCOL = "1"  # raised whenever a figure would change its meaning: views, gallery, noise, timing rules


def first_error(error: ValidationError) -> str:
    """The first thing that is wrong, as "field.in.field: what"."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


class Status(str, Enum):
    """How a measurement ended. `docs/statuses.md` says for each whether its test passes and whether it has a row."""

    OK = "ok"
    OUT_OF_MEMORY = "out-of-memory"
    TIMED_OUT = "timed-out"
    CRASHED = "crashed"
    UNSUPPORTED = "unsupported"
    NEEDS_WEIGHTS = "needs-weights"
    THROTTLED = "throttled"
    NOT_HERE = "not-here"


NOT_RUN = (Status.NOT_HERE, Status.NEEDS_WEIGHTS, Status.UNSUPPORTED)  # nothing was started


class Verdict(str, Enum):
    PASS = "pass"
    OVER_BUDGET = "over-budget"
    REGRESSED = "regressed"
    IMPROVED = "improved"
    UNCERTAIN = "uncertain"
    NO_BASELINE = "no-baseline"


class Fingerprint(Record):
    """Everything that decides whether two measurements may be compared."""

    protocol: ShortText = PROTOCOL
    device: FileName
    board: FileName
    chip: ShortText
    driver: ShortText | None = None
    power_mode: ShortText | None = None
    clocks: ShortText | None = None
    python: ShortText
    torch: ShortText
    threads: int = Field(ge=1, le=100_000)
    weights_sha256: ShortText | None = None
    gallery_sha256: ShortText | None = None
    settings: ShortText | None = None  # of the environment; None: none, or a record of before they were kept

    @property
    def id(self) -> str:
        unset = {"settings"} if self.settings is None else set()  # the id that such a record always had
        text = json.dumps(self.model_dump(exclude=unset), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


LatencyInterval = Annotated[Interval, within(1e-6, 1e9, ends=False)]
RatioInterval = Annotated[Interval, within(1e-9, 1e9, ends=False)]


class StageExtrapolation(Record):
    """What the seconds of a stage were computed from, when only a few of its network's evaluations were made."""

    evaluation_samples_s: list[Seconds]  # those that were made
    evaluations: Count  # those of a whole object, or of a whole extra stage its parts
    rest_s: Seconds  # what the stage took besides them, once


class SetAside(Record):
    """A sample that was disturbed, and replaced by another."""

    seconds: LatencySeconds
    why: CleanText


class Latency(Record):
    """Seconds from text to the model's output: one prompt, batch 1, synchronized, a sample a round.

    An extrapolated one has a single sample, computed by `suite/metrics/extrapolation.py`, and its interval from the
    spread of the evaluations.
    """

    samples_s: list[LatencySeconds] = Field(min_length=1)
    stage_samples_s: dict[str, list[Seconds]]
    first_call_s: LatencySeconds | None  # None: no whole object was made
    median: LatencyInterval  # of samples_s
    stop_reason: Literal["interval", "rounds", "time"]
    warnings: list[str] = []
    set_aside: list[SetAside] = Field(default=[], max_length=1000)  # none of samples_s
    disturbed: list[Count] = Field(default=[], max_length=1000)  # places in samples_s: kept, as it was never quiet
    extrapolation: dict[str, StageExtrapolation] = {}  # by stage; empty where whole objects were timed

    @model_validator(mode="after")
    def _median_is_of_the_samples(self) -> Latency:
        low, high = min(self.samples_s), max(self.samples_s)
        if not low * (1 - 1e-9) <= self.median.value <= high * (1 + 1e-9):
            raise ValueError(f"median {self.median.value:g} s is not among its samples of {low:g} to {high:g} s")
        return self


class MemoryPoint(Record):
    at_s: Seconds  # since the object was begun
    level_bytes: Bytes  # above the level before the model was loaded; 0 where it lay below


class Memory(Record):
    """Bytes. `kind` says what was counted: `process` (resident set), `allocator` (CUDA) or `unified` (Jetson)."""

    kind: Literal["process", "allocator", "unified"]
    peak_memory_bytes: PeakBytes  # above the level before the model was loaded
    load_peak_memory_bytes: Bytes | None = None
    process_peak_memory_bytes: PeakBytes | None = None
    stage_peak_memory_bytes: dict[str, Bytes] = {}
    timeline: list[MemoryPoint] = Field(default=[], max_length=1000)  # of one object; looked at now and then


class Energy(Record):
    rails: list[str]  # whose sum it is
    rails_not_added: list[str] = []  # inside one of those, or not known to be beside them
    energy_j: Joules  # an object
    idle_w: float | None = Field(default=None, ge=0, le=1e6)


class MachinePeak(Record):
    """The best that the run's device and threads reached just then: `suite/metrics/peaks.py`."""

    flops_per_s: dict[
        str, Annotated[float, Field(gt=0)]
    ]  # of a large matrix product, by type of arithmetic: float32, bfloat16, int8
    bytes_per_s: float = Field(gt=0)  # of a large copy, read and written


class StageCost(Record):
    """What a stage does for one object."""

    flops: dict[str, Count]  # by type of arithmetic, a multiplication and an addition being two
    bytes_moved: Count  # in and out of its matrix products, convolutions and attention, weights included
    parameters: Count | None = None  # of its network; None where another stage's is used
    floor_s: Seconds | None = None  # the least that the machine's peak allows

    @property
    def total_flops(self) -> int:
        return sum(self.flops.values())


class Cost(Record):
    """Arithmetic and traffic by stage, counted. A stage whose work cannot be counted is absent."""

    stages: dict[str, StageCost]
    extra_stages: dict[str, StageCost] = {}
    peak: MachinePeak


class Reference(Record):
    """The reference's latency in the same session, which ratios are taken to.

    Where it was timed in turn with the cell, a sample and the cell's rounds since the sample before it are a pair.
    """

    configuration: ConfigurationId
    latency: LatencyInterval
    measured_at: UtcTime
    samples_s: list[LatencySeconds] = Field(default=[], max_length=1000)  # in turn with the cell's rounds
    after_rounds: list[Count] = Field(default=[], max_length=1000)  # of the cell, that were made before each of them
    latency_ratio: Annotated[Interval, within(1e-9, 1e9)] | None = None  # the cell's over this one's, by the pairs

    @model_validator(mode="after")
    def _each_sample_has_its_place(self) -> Reference:
        if len(self.samples_s) != len(self.after_rounds):
            raise ValueError(f"{len(self.samples_s)} samples_s and {len(self.after_rounds)} after_rounds")
        return self


class Measurement(Record):
    """What one run of one configuration gave."""

    schema_version: int = SCHEMA_VERSION
    protocol: ShortText = PROTOCOL
    configuration: ConfigurationId
    model: FileName
    optimization: RecipeName
    device: FileName
    board: FileName | None
    status: Status
    reason: CleanText | None = None  # why, when the status is not ok
    session: FileName
    measured_at: UtcTime
    commit: ShortText | None = None
    weights: ShortText | None = None  # embedded, official, random
    output: str | None = None  # what was timed to its end: "point cloud of 256 points"
    smoke: bool = False
    simulated: bool = False
    extrapolated: bool = False  # its latency is told from a few of these:
    evaluations: Count | None = None  # of the networks, an object
    parameters: Count | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    quality: Quality | None = None
    reference: Reference | None = None
    extra_stage_samples_s: dict[str, list[Seconds]] = {}  # other decodings of the same object, outside its latency
    extra_stage_extrapolation: dict[str, StageExtrapolation] = {}
    cost: Cost | None = None
    canary_s: LatencySeconds | None = None
    speedup_vs_original: RatioInterval | None = None  # the original's latency of the same session over this one
    fingerprint: Fingerprint | None = None
    artefacts: dict[str, str] = {}  # name -> path, relative to the repository
    objects: list[KeptObject] = Field(default=[], max_length=16)  # of the first prompts, to be looked at
    verdicts: dict[str, Verdict] = {}  # by budget


BudgetKind = Literal["latency_s", "latency_ratio", "peak_memory_bytes", "r_precision", "status"]


class Budget(Record):
    """A limit that a configuration must keep, with where it comes from."""

    name: BudgetKind
    limit: float | None = None
    canary_s: float | None = None  # latency_s on `cpu`: the canary's time where the limit was measured
    expect: Status | None = None
    source: Literal["measured", "published", "unset"]
    reason: str = Field(min_length=1)  # how it was measured, where it was published, why it is unset


class PublishedRow(Record):
    """One line of `leaderboards/published/<device>.json`; the stable interface to other tools."""

    schema_version: int = SCHEMA_VERSION
    protocol: ShortText | None
    configuration: PlainName
    model: FileName
    optimization: RecipeName
    device: FileName
    board: FileName | None
    source: Literal["measured", "published"]
    source_note: str | None = None  # where a published figure stands
    status: Status
    reason: str | None = None
    weights: ShortText | None = None
    output: str | None = None
    kind: PlainName | None = None  # of output: "mesh", "point cloud (256)"; rows of one kind share a frontier
    session: FileName | None = None  # the reference's too
    latency_s: LatencySeconds | None = None
    latency_low_s: float | None = None
    latency_high_s: float | None = None
    stage_latency_s: dict[str, Seconds] = {}  # medians, in the order in which the stages run
    extra_stage_latency_s: dict[str, Seconds] = {}  # medians of other decodings, outside latency_s
    peak_memory_bytes: PeakBytes | None = None
    process_peak_memory_bytes: PeakBytes | None = None
    stage_peak_memory_bytes: dict[str, Bytes] = {}
    # Cost: of one object; extra stages too, under their own names
    stage_parameters: dict[str, int] = {}
    stage_flops: dict[str, int] = {}
    stage_bytes_moved: dict[str, int] = {}
    stage_floor_s: dict[str, float] = {}  # the least that the machine's peak allows
    floor_s: float | None = None  # of the stages that latency_s is made of
    peak_flops_per_s: dict[str, float] = {}  # of this machine in that run, by type of arithmetic
    peak_bytes_per_s: float | None = None
    energy_j: Joules | None = None
    r_precision: Fraction | None = None
    r_precision_low: Fraction | None = None
    r_precision_high: Fraction | None = None
    r_precision_3001: Fraction | None = None
    r_precision_3001_low: Fraction | None = None
    r_precision_3001_high: Fraction | None = None
    chamfer: float | None = Field(default=None, ge=0, le=1e6)
    chamfer_to_fp32: float | None = Field(default=None, ge=0, le=1e6)  # to fp32's objects from the same noise
    f_score_to_fp32: Fraction | None = None
    f_score_to_fp32_low: Fraction | None = None
    f_score_to_fp32_high: Fraction | None = None
    worst_view: Fraction | None = None  # recognized among 153 from every view alone
    worst_view_low: Fraction | None = None
    worst_view_high: Fraction | None = None
    attributes: dict[Attribute, Share] = {}  # objects that are not taken for a near miss in it
    attribute_differences: dict[Attribute, ShareDifference] = {}  # minus the reference's, on the same prompts
    meshes: MeshGate | None = None
    diversity: float | None = Field(default=None, ge=0, le=1e6)  # Chamfer distance between two objects of a prompt
    diversity_low: float | None = None
    diversity_high: float | None = None
    second_opinion: SecondOpinion | None = None  # of another judge, on the same objects
    prompts: Count | None = None
    starts: Count | None = None  # objects a prompt, of different start noise
    prompts_scored_here: Count | None = None  # fewer than `prompts` where a committed session gave the other outcomes
    outcomes_from: ShortText | None = None  # that session
    judge: ShortText | None = None  # name and weights of what scored it
    gallery_sha256: ShortText | None = None
    speedup: Ratio | None = None  # times as fast as the reference
    speedup_low: Ratio | None = None
    speedup_high: Ratio | None = None
    reference_latency_s: LatencySeconds | None = None  # of the reference in the same session
    reference_measured_at: UtcTime | None = None
    speedup_vs_original: Ratio | None = None
    speedup_vs_original_low: float | None = None
    speedup_vs_original_high: float | None = None
    quality_difference: Difference | None = None  # r_precision minus the reference's, on the same prompts
    quality_difference_low: Difference | None = None
    quality_difference_high: Difference | None = None
    quality_verdict: NonInferiority | None = None  # where scoring ended when it knew
    extrapolated: bool = False
    simulated: bool = False
    smoke: bool = False
    on_frontier: bool | None = None  # of its kind; None: not ranked
    frontier_probability: Fraction | None = None  # P(no other of its kind beats it), by resampling
    layer: Place | None = None  # 1: the frontier of the medians without regard to noise; 2: what is next without it
    rank: Place | None = None  # by R-Precision within its kind, 1 is best
    rank_low: Place | None = None
    rank_high: Place | None = None
    tie_band: Place | None = None  # rows of one band cannot be told from the band's best
    verdicts: dict[str, Verdict] = {}
    fingerprint_id: ShortText | None = None
    measured_at: UtcTime | None = None
    commit: ShortText | None = None
    artefacts: dict[str, str] = {}
