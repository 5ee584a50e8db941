"""The latency of an object that takes hours here, told from a few of its network evaluations.

A diffusion stage asks its network 127 times for 64 steps, with the same shapes, hence the same work, each time. Within
`only_first_calls`, the first calls of each shape are made and the others get the last one's answer: the stage runs to
its end, with all that it does between the evaluations, and makes an object of the right shape that means nothing. What
the stage took besides its evaluations, and the mean evaluation times their number, are what the whole would take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import fmean, variance
from typing import Any

from torch import Tensor

from suite.catalogue.recipes import UnsupportedRecipe
from suite.judging.intervals import latency_interval, relative_half_width, student_t
from suite.metrics.latency import MAX_ROUNDS, MIN_ROUNDS, STAGE_SLACK, TARGET, time_call, warnings_of
from suite.models.pipeline import Evaluations, Pipeline
from suite.records import Interval, Latency, StageExtrapolation

MIN_EVALUATIONS = 3  # two give a Student-t factor of 12.7
MEMORY_EVALUATIONS = 2  # the second meets what the first left behind, as all later ones do
EXTRA_BUDGET_S = 10.0  # of an extra stage's parts: shown, not ranked
EXTRA_WARM_UP = 1  # part that is made and is no sample; a diffusion stage's are warmed up by the memory pass

CallSite = tuple[object, str]
"""An object and the name of its method that a stage calls over and over."""


@dataclass
class CallsOfShape:
    """The calls of one shape in one stage."""

    calls: int = 0
    unsampled: list[Any] = field(default_factory=list)  # made before those that count
    samples: list[Any] = field(default_factory=list)  # made: seconds, or what was counted
    answer: Any = None
    done: bool = False  # enough are made


@dataclass
class CallSampler:
    """What one stage asks over and over. `read` is what a call is measured by: its difference is a sample."""

    enough: Callable[[list[Any]], bool]  # of the samples of one shape, after which no more calls are made
    read: Callable[[], Any]
    warm_up: int = 0
    alike: dict[tuple, CallsOfShape] = field(default_factory=dict)  # by shape

    def around(self, real: Callable) -> Callable:
        def call(*arguments: Any, **named: Any) -> Any:
            shape = next((tuple(a.shape) for a in (*arguments, *named.values()) if isinstance(a, Tensor)), ())
            found = self.alike.setdefault(shape, CallsOfShape())
            found.calls += 1
            if not found.done:
                before = self.read()
                found.answer = real(*arguments, **named)
                taken = found.unsampled if len(found.unsampled) < self.warm_up else found.samples
                taken.append(self.read() - before)
                found.done = bool(found.samples) and self.enough(found.samples)
            return found.answer

        return call


def diffusion_places(pipeline: Pipeline) -> dict[str, CallSite]:
    """By diffusion stage, the network that it evaluates."""
    networks = {stage: pipeline.networks[stage] for stage in pipeline.diffusion}
    return {stage: (network, "forward") for stage, network in networks.items() if hasattr(network, "forward")}


@contextmanager
def only_first_calls(
    places: Mapping[str, CallSite],
    enough: Callable[[list[Any]], bool],
    read: Callable[[], Any] = time.perf_counter,
    warm_up: int = 0,
) -> Iterator[dict[str, CallSampler]]:
    """Within it, only the first calls at these places are made."""
    asked = {stage: CallSampler(enough, read, warm_up) for stage in places}
    with ExitStack() as undo:
        for stage, (owner, method) in places.items():
            own = vars(owner).get(method)  # of the object itself, where somebody gave it one
            back = (setattr, owner, method, own) if own is not None else (delattr, owner, method)
            setattr(owner, method, asked[stage].around(getattr(owner, method)))
            undo.callback(*back)
        yield asked


def at_least(count: int) -> Callable[[list[Any]], bool]:
    return lambda samples: len(samples) >= count


def enough_for(budget_s: float) -> Callable[[list[float]], bool]:
    """The rule of `docs/measuring.md`: at least 3 evaluations; then until the interval is narrow (5 at least), 20 are
    made, or the stage's share of the time budget is used up."""
    return lambda samples: stop_reason(samples, budget_s) is not None


def stop_reason(samples: list[float], budget_s: float) -> str | None:
    if len(samples) < MIN_EVALUATIONS:
        return None
    if len(samples) >= MIN_ROUNDS and relative_half_width(latency_interval(samples)) <= TARGET:
        return "interval"
    return "rounds" if len(samples) >= MAX_ROUNDS else "time" if sum(samples) >= budget_s else None


def extrapolated_total(spent_s: float, asked: CallSampler) -> tuple[float, StageExtrapolation | None]:
    """Seconds that a stage would take with all its calls made, and what says so; None where it calls nothing twice."""
    groups = [group for group in asked.alike.values() if group.samples]
    if not groups:
        return spent_s, None
    whole = {id(g): fmean(g.samples) * g.calls for g in groups}
    rest_s = max(0.0, spent_s - sum(sum(g.unsampled) + sum(g.samples) for g in groups))
    main = max(groups, key=lambda g: whole[id(g)])
    beside_s = rest_s + sum(whole.values()) - whole[id(main)]
    return rest_s + sum(whole.values()), StageExtrapolation(
        evaluation_samples_s=main.samples, evaluations=main.calls, rest_s=beside_s
    )


def interval(total_s: float, stages: Mapping[str, StageExtrapolation]) -> Interval:
    """The total with its 95 % interval from the spread of each stage's evaluations, on the scale of the logarithm.

    n evaluations of which m are known: the other n - m have a variance of s² each, and their mean one of s²/m; together
    n (n - m) / m · s². Stages are independent; Welch and Satterthwaite's degrees of freedom. Ends are None where
    nothing was left to tell, or one sample is all that a stage has.
    """
    parts = []
    for stage in stages.values():
        n, m = stage.evaluations, len(stage.evaluation_samples_s)
        if n > m:
            if m < 2:
                return Interval(value=total_s)
            parts.append((n * (n - m) / m * variance(stage.evaluation_samples_s), m - 1))
    spread = sum(v for v, _ in parts)
    if not spread:
        return Interval(value=total_s)
    freedom = spread**2 / sum(v**2 / df for v, df in parts)
    half = student_t(freedom) * math.sqrt(spread) / total_s
    return Interval(value=total_s, low=total_s * math.exp(-half), high=total_s * math.exp(half))


def extrapolate_latency(
    pipeline: Pipeline,
    prompt: str,
    synchronize: Callable[[], None],
    time_budget_s: float,
    between: Callable[[], None] = lambda: None,
) -> Latency:
    """One object with few evaluations a diffusion stage, and what it says of a whole one. `between`: after each.

    UnsupportedRecipe where none of the evaluations stands for another.
    """
    if pipeline.evaluations_are == Evaluations.ANYHOW:
        raise UnsupportedRecipe(
            f"evaluations of {pipeline.model} differ {Evaluations.ANYHOW.value}, so that a few do not tell the "
            "latency; --extrapolate=never measures whole objects"
        )
    places = diffusion_places(pipeline)
    budget_s = time_budget_s / max(1, len(places))

    def read() -> float:
        synchronize()
        return time.perf_counter()

    def enough(samples: list[float]) -> bool:
        between()
        return stop_reason(samples, budget_s) is not None

    with only_first_calls(places, enough, read) as asked:
        total_s, spent = time_call(lambda stage: pipeline.generate([prompt], stage=stage), synchronize)
    told = {stage: extrapolated_total(seconds, asked[stage]) for stage, seconds in spent.items() if stage in asked}
    stages = {stage: told[stage][0] if stage in told else seconds for stage, seconds in spent.items()}
    details = {stage: detail for stage, (_, detail) in told.items() if detail is not None}
    outside_s = total_s - sum(spent.values())
    whole_s = sum(stages.values()) + outside_s
    reasons = {stop_reason(d.evaluation_samples_s, budget_s) or "rounds" for d in details.values()}
    warnings = [
        f"evaluations of {stage}: {warning}"
        for stage, detail in details.items()
        for warning in warnings_of(detail.evaluation_samples_s, 0.0)
    ]
    if outside_s > STAGE_SLACK * whole_s:
        warnings += warnings_of([whole_s], outside_s / whole_s)
    return Latency(
        samples_s=[whole_s],
        stage_samples_s={stage: [seconds] for stage, seconds in stages.items()},
        first_call_s=None,
        median=interval(whole_s, details),
        stop_reason=next((reason for reason in ("time", "rounds") if reason in reasons), "interval"),
        warnings=warnings,
        extrapolation=details,
    )


def extrapolate_extra(
    pipeline: Pipeline, name: str, prompt: str, synchronize: Callable[[], None]
) -> tuple[float, StageExtrapolation | None] | None:
    """Seconds of another decoding, from a few of the parts that it asks its network in; None where not known."""
    place = pipeline.extra_part(name)
    if place is None:
        return None

    def read() -> float:
        synchronize()
        return time.perf_counter()

    with only_first_calls({name: place}, enough_for(EXTRA_BUDGET_S), read, EXTRA_WARM_UP) as asked:
        _, spent = time_call(lambda stage: pipeline.extra(name, [prompt], stage), synchronize)
    return extrapolated_total(spent[name], asked[name])
