"""What a device should do that has not measured: for every published size and recipe, from counts, peaks, and the
efficiency that was measured elsewhere. Shown apart: a prediction is no row, and is never ranked.

`docs/predictions.md` has the table, and how far such predictions were off where the truth is known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from leaderboards.literature import literature_rows
from leaderboards.predicting import (
    CLASSES,
    COUNTS,
    SAMPLINGS,
    Arithmetic,
    Case,
    Efficiency,
    Expected,
    Work,
    efficiencies,
    expected_latency,
    expected_memory,
    floors,
    peaks_of_tpcs,
    stored_bytes,
)
from suite.catalogue.devices import find_device
from suite.catalogue.models import MODELS
from suite.catalogue.optimizations import REFERENCE, find_optimization
from suite.catalogue.recipes import ORIGINAL
from suite.history import COMMITTED
from suite.index.reading import read_indexed
from suite.names import unknown
from suite.records import MachinePeak, Measurement, Record, Status, first_error
from suite.toml import tomllib

FILE = Path(__file__).parent / "predictions.toml"
DEFAULT = "default"  # the mode of a device that has one
# What a recipe computes the diffusion networks in; by the name of its part.
ARITHMETICS = {
    REFERENCE: Arithmetic("float32", "float32"),
    ORIGINAL: Arithmetic("float32", "float32", scores=True),
    "bf16": Arithmetic("bfloat16", "bfloat16", traffic=0.5, weight_bytes=2),
    "fp16": Arithmetic("float16", "float16", traffic=0.5, weight_bytes=2),
    "fp16-tensorrt": Arithmetic("float16", "float16", traffic=0.5, weight_bytes=None),
    "int8-torchao-linear": Arithmetic("float32", "int8", weight_bytes=1, from_float32=True),
    "int8-tensorrt-linear": Arithmetic("float32", "int8", weight_bytes=None),
    "int8-tensorrt-all": Arithmetic("int8", "int8", traffic=0.25, weight_bytes=None),
    "w8": Arithmetic("float32", "float32", weight_bytes=1, from_float32=True),
    "w4": Arithmetic("float32", "float32", weight_bytes=0.625, from_float32=True),
}
NOT_PREDICTED = {
    "compile": "what it saves are launches and passes between the products, which are not counted",
    "cuda-graphs": "what it saves are launches, which are not counted",
    "sparse-decode": "its work depends on the object's surface",
    "coarse-decode": "its work depends on the object's surface",
    "distilled-N": "no published size has a student",
    "copied-points": "not for an upsampler that starts from noise",
    "mixed": "between w8 and w4",
    "smoothquant": "a step before an int8 recipe, without arithmetic of its own",
}
RECAST = ("base diffusion", "upsampler", "latent diffusion")  # the stages whose arithmetic a recipe changes


class MalformedPredictions(ValueError):
    """Names the file and the key."""


class PeakEntry(Record):
    """A mode's peaks, or the clusters and clock that they follow from."""

    flops_per_s: dict[str, float] = {}
    tpcs: int | None = Field(default=None, gt=0)
    gpu_hz: float | None = Field(default=None, gt=0)
    bytes_per_s: float = Field(gt=0)
    source: str

    @property
    def peak(self) -> MachinePeak:
        if self.tpcs is not None and self.gpu_hz is not None:
            return peaks_of_tpcs(self.tpcs, self.gpu_hz, self.bytes_per_s)
        return MachinePeak(flops_per_s=self.flops_per_s, bytes_per_s=self.bytes_per_s)


class CaseEntry(Record):
    """A latency that others published: of an object, or of some stages."""

    model: str
    recipe: str
    device: str
    arithmetic: str
    stages: list[str] | None = None
    latency_s: float | None = Field(default=None, gt=0)
    source: str | None = None


class ModelCounts(Record):
    """Of `object_counts.json`: `python -m benchmarks.object_counts`."""

    parameters: dict[str, int]
    largest_bytes: int
    recipes: dict[str, dict[str, dict]]

    def work(self, sampling: str) -> dict[str, Work]:
        return {stage: Work(**count) for stage, count in self.recipes[sampling].items()}


@dataclass(frozen=True)
class Prediction:
    """Of one configuration in one mode."""

    configuration: str
    mode: str
    latency_s: Expected
    floor_s: float
    peak_memory_bytes: Expected | None
    speedup: float | None  # by the same model's fp32, in the same mode

    @property
    def model(self) -> str:
        return self.configuration.partition("/")[0]

    @property
    def recipe(self) -> str:
        return self.configuration.partition("/")[2].rpartition("@")[0]


@cache
def counts() -> dict[str, ModelCounts]:
    """By model; point-e-300m-text among them, which was never published."""
    data = json.loads(COUNTS.read_text(encoding="utf-8"))
    return {name: ModelCounts.model_validate(found) for name, found in data["models"].items()}


@cache
def _file() -> tuple[dict[str, dict[str, PeakEntry]], list[CaseEntry]]:
    try:
        data = tomllib.loads(FILE.read_text(encoding="utf-8"))
        peaks = {
            device: {mode: PeakEntry.model_validate(entry) for mode, entry in modes.items()}
            for device, modes in data["peaks"].items()
        }
        return peaks, [CaseEntry.model_validate(entry) for entry in data["case"]]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise MalformedPredictions(f"{FILE}: {error}") from None
    except ValidationError as error:
        raise MalformedPredictions(f"{FILE}: {first_error(error)}") from None


def has_peaks(device: str) -> bool:
    return device in _file()[0]


def modes(device: str) -> dict[str, PeakEntry]:
    """A device's power modes, the fastest first. UnknownName where its peaks are not known."""
    peaks, _ = _file()
    if device not in peaks:
        raise unknown("device with known peaks", device, peaks)
    return peaks[device]


def find_mode(device: str, mode: str) -> PeakEntry:
    """MODE_30W, as nvpmodel has it, is 30W."""
    name = mode.upper().removeprefix("MODE_")
    found = {known.upper(): entry for known, entry in modes(device).items()}
    if name not in found:
        raise unknown(f"power mode of {device}", mode, modes(device))
    return found[name]


def parts_of(recipe: str) -> tuple[str, Arithmetic]:
    """The sampling whose counts a recipe has, and what it computes in. UnknownName where it is not predicted."""
    sampling, arithmetic = REFERENCE, ARITHMETICS[REFERENCE]
    for part in recipe.split("+"):
        find_optimization(part)  # a word that is no recipe at all is answered with the nearest
        if part in SAMPLINGS:
            sampling = part if part != REFERENCE else sampling
        elif part in ARITHMETICS:
            arithmetic = ARITHMETICS[part]
        else:
            why = NOT_PREDICTED.get(part.rstrip("0123456789") + "N", NOT_PREDICTED.get(part))
            problem = f"recipe with a prediction{f' ({why})' if why else ''}"
            raise unknown(problem, part, [*SAMPLINGS, *ARITHMETICS])
    return sampling, arithmetic


def stages_of(
    model: str, sampling: str, arithmetic: Arithmetic, only: Sequence[str] | None = None
) -> list[tuple[Work, Arithmetic]]:
    """The stages of one object, each with what it is computed in."""
    plain = ARITHMETICS[REFERENCE]
    return [
        (work, arithmetic if stage in RECAST else plain)
        for stage, work in counts()[model].work(sampling).items()
        if only is None or stage in only
    ]


def published_cases(device: str | None = None, mode: str = DEFAULT) -> list[Case]:
    """What others published, with the floor of its work: of one device in a mode, or of all that have a single one."""
    rows = {(row.model, row.optimization, row.device): row for row in literature_rows()}
    found = []
    for entry in _file()[1]:
        if (entry.device != device) if device is not None else (DEFAULT not in modes(entry.device)):
            continue
        row = rows.get((entry.model, entry.recipe, entry.device))
        latency_s, source = entry.latency_s, entry.source
        if latency_s is None:
            original = rows[entry.model, ORIGINAL, entry.device]
            latency_s = row.latency_s or original.latency_s / row.speedup_vs_original
            source = row.source_note
        least = floors(_published_stages(entry), find_mode(entry.device, mode).peak)
        (kind,) = {CLASSES[entry.arithmetic]}
        of = f" {', '.join(entry.stages)}" if entry.stages else ""
        name = f"{entry.model}/{entry.recipe}@{entry.device}{of} ({entry.arithmetic})"
        found.append(Case(name, entry.device, kind, sum(least.values()), latency_s, source))
    return found


def _published_stages(entry: CaseEntry) -> list[tuple[Work, Arithmetic]]:
    sizes = {"float32": 1.0, "float16": 0.5, "int8": 0.25}
    own = Arithmetic(
        entry.arithmetic, entry.arithmetic, traffic=sizes[entry.arithmetic], scores=entry.recipe == ORIGINAL
    )
    return stages_of(entry.model, REFERENCE, own, entry.stages)


def measured_cases(measurements: Iterable[Measurement]) -> list[Case]:
    """Published sizes that were measured here, whose arithmetic is nearly all of one type, by their recorded floors."""
    found = []
    for m in measurements:
        model = m.configuration.partition("/")[0]
        known = model in MODELS and MODELS[model].full_size
        if not known or m.status != Status.OK or m.latency is None or m.cost is None:
            continue
        by_type = sum((Counter(stage.flops) for stage in m.cost.stages.values()), Counter())
        most = max(by_type, key=by_type.get, default=None)
        stages = [stage.floor_s for stage in m.cost.stages.values()]
        if not {stage for stage in m.latency.stage_samples_s if stage in RECAST} <= set(m.cost.stages):
            continue  # a network outside torch, whose work nobody counted
        if None in stages or sum(stages) > m.latency.median.value:
            continue  # nothing beats its floor: the machine's peak was measured in a disturbed moment
        if most in CLASSES and by_type[most] > 0.95 * sum(by_type.values()):
            device = m.configuration.rpartition("@")[2]
            name = f"{m.configuration} ({most})"
            found.append(Case(name, device, CLASSES[most], sum(stages), m.latency.median.value, f"board {m.board}"))
    return found


@cache
def known_cases(without: str | None = None, history: Path = COMMITTED) -> tuple[Case, ...]:
    """All but those of a device: what is predicted is never used to predict it."""
    measured = measured_cases(_measurements(history))
    return tuple(case for case in [*published_cases(), *measured] if case.machine != without)


@cache
def _measurements(history: Path) -> tuple[Measurement, ...]:
    return tuple(read_indexed(history, set_aside=False).measurements) if history.is_dir() else ()


@dataclass(frozen=True)
class MemoryCase:
    """A measured peak: the bytes of its weights, and of its largest operation."""

    configuration: str
    weights: float
    operation: float
    peak_bytes: int

    @property
    def times(self) -> float:
        """How often the largest operation was held beside the weights."""
        return (self.peak_bytes - self.weights) / self.operation


@cache
def memory_cases(history: Path = COMMITTED) -> tuple[MemoryCase, ...]:
    """Of each published size that was measured here, whose networks are torch's."""
    found = []
    for m in _measurements(history):
        model, _, recipe = m.configuration.rpartition("@")[0].partition("/")
        if model not in counts() or m.status != Status.OK or m.cost is None or m.memory is None:
            continue
        arithmetic = ARITHMETICS.get(recipe)
        if arithmetic is None or arithmetic.scores or arithmetic.weight_bytes is None:
            continue
        own = {stage: cost.parameters for stage, cost in m.cost.stages.items() if cost.parameters is not None}
        weights = stored_bytes(own, RECAST, arithmetic)
        if m.memory.peak_memory_bytes > weights:
            operation = counts()[model].largest_bytes * arithmetic.traffic
            found.append(MemoryCase(m.configuration, weights, operation, m.memory.peak_memory_bytes))
    return tuple(found)


def memory_off(case: MemoryCase) -> float:
    """Predicted peak over the true one, told from the other cases."""
    others = [other.times for other in memory_cases() if other.configuration != case.configuration]
    return expected_memory(case.weights, 0, case.operation, others).value / case.peak_bytes


def predict(model: str, recipe: str, device: str, mode: str, known: dict[str, Efficiency]) -> Prediction | None:
    """None where the machine lacks a type of arithmetic, or the model the recipe. UnknownName for wrong names."""
    if model not in counts():
        raise unknown("model with counted work", model, counts())
    sampling, arithmetic = parts_of(recipe)
    own, peak = counts()[model], find_mode(device, mode).peak
    if sampling not in own.recipes or find_optimization(recipe).why_unsupported(find_device(device)):
        return None
    least = floors(stages_of(model, sampling, arithmetic), peak)
    latency_s = None if least is None else expected_latency(least, known)
    if latency_s is None:
        return None
    reference = expected_latency(floors(stages_of(model, REFERENCE, ARITHMETICS[REFERENCE]), peak), known)
    return Prediction(
        configuration=f"{model}/{recipe}@{device}",
        mode=mode,
        latency_s=latency_s,
        floor_s=sum(least.values()),
        peak_memory_bytes=_memory(own, arithmetic),
        speedup=None if reference is None else reference.value / latency_s.value,
    )


def _memory(own: ModelCounts, arithmetic: Arithmetic) -> Expected | None:
    """None of what is outside torch, and of the originals, whose scores are held all at once."""
    weights = stored_bytes(own.parameters, RECAST, arithmetic)
    if weights is None or arithmetic.scores:
        return None
    loading = stored_bytes(own.parameters, (), arithmetic) if arithmetic.from_float32 else 0
    return expected_memory(
        weights, loading, own.largest_bytes * arithmetic.traffic, [case.times for case in memory_cases()]
    )


def recipes_of(model: str) -> list[str]:
    """What is predicted of a model: each recipe alone, and fewer evaluations in half precision."""
    samplings = [name for name in SAMPLINGS if name in counts()[model].recipes]
    others = [name for name in ARITHMETICS if name not in (REFERENCE, ORIGINAL)]
    return [*samplings, *others, *(f"{name}+fp16" for name in samplings if name != REFERENCE)]


def predictions(
    device: str, mode: str, model: str | None = None, known: dict[str, Efficiency] | None = None
) -> list[Prediction]:
    """Of a device in a mode: each model's, fastest first."""
    find_mode(device, mode)
    known = efficiencies(known_cases(without=device)) if known is None else known
    found = []
    for name in [model] if model is not None else [name for name in counts() if name in MODELS]:
        if name not in counts():
            raise unknown("model with counted work", name, counts())
        own = [predict(name, recipe, device, mode, known) for recipe in recipes_of(name)]
        found += sorted((p for p in own if p is not None), key=lambda p: p.latency_s.value)
    return found


def best_predicted(
    device: str, model: str | None = None, conditioning: str | None = None, limit_s: float | None = None
) -> list[Prediction]:
    """Of a device in its fastest mode, for one without rows. With a limit: what should keep it, the least cut first,
    since quality is not predicted; without: each model's reference and half precision. Empty where no peaks are known.
    """
    if not has_peaks(device) or (model is not None and model not in counts()):
        return []
    found = predictions(device, next(iter(modes(device))), model)
    if conditioning is not None:
        found = [p for p in found if ("image" in MODELS[p.model].conditioning) == (conditioning == "image")]
    if limit_s is not None:
        fitting = [p for p in found if p.latency_s.value <= limit_s]
        return sorted(fitting, key=lambda p: p.latency_s.value, reverse=True)
    return [p for p in found if p.recipe in (REFERENCE, "fp16")]
