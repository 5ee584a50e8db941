"""What an object costs by stage: arithmetic, traffic, parameters, and the least time that the machine's peaks allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from suite.judging.roofline import floor_s
from suite.metrics.counting import Count, Counting
from suite.metrics.extrapolation import CallSite, at_least, diffusion_places, only_first_calls
from suite.metrics.peaks import machine_peak
from suite.models.pipeline import Evaluations, Pipeline, Stepped, has
from suite.records import Cost, StageCost


@dataclass
class StageCounts:
    """A `Stage` that counts what each stage does."""

    by_stage: dict[str, Count] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        with Counting(self.by_stage.setdefault(name, Count())):
            yield

    def so_far(self) -> Count:
        """Of all stages, as it is now."""
        counts = self.by_stage.values()
        flops = sum((count.flops for count in counts), Counter())
        return Count(flops, sum(count.bytes_moved for count in counts))


def stage_parameters(pipeline: Pipeline) -> dict[str, int]:
    """By stage; asked before a recipe, since a quantized layer packs its weights away."""
    return {stage: count_parameters(network) for stage, network in pipeline.networks.items()}


def extra_parameters(pipeline: Pipeline) -> dict[str, int]:
    """Of the extra stages that have a network of their own; asked after these have run, since it is loaded for them."""
    parts = {name: pipeline.extra_part(name) for name in pipeline.extra_stages}
    own = {name: part[0] for name, part in parts.items() if part is not None and isinstance(part[0], nn.Module)}
    shared = list(pipeline.networks.values())
    return {name: count_parameters(net) for name, net in own.items() if all(net is not other for other in shared)}


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def measure_cost(
    pipeline: Pipeline,
    prompt: str,
    parameters: Mapping[str, int],
    device: torch.device,
    synchronize: Callable[[], None],
    sparing: bool = False,
) -> Cost:
    """The cost of one object, counted on a few steps, held against the peaks of this machine, measured here.

    sparing: where an evaluation takes long, one a stage is counted instead of the four of two short samplings.
    """
    if sparing:
        stages, extra = sparing_counts(pipeline, prompt), sparing_extra_counts(pipeline, prompt)
    else:
        stages, extra = object_counts(pipeline, prompt), extra_counts(pipeline, prompt)
    kinds = {kind for count in (*stages.values(), *extra.values()) for kind in count.flops}
    peak = machine_peak(device, synchronize, kinds)

    def priced(counts: Mapping[str, Count], parameters: Mapping[str, int]) -> dict[str, StageCost]:
        return {
            stage: StageCost(
                flops=dict(count.flops),
                bytes_moved=count.bytes_moved,
                parameters=parameters.get(stage),
                floor_s=floor_s(count.flops, count.bytes_moved, peak),
            )
            for stage, count in counts.items()
            if count.total_flops  # a network that is not torch's does its work unseen: not known, rather than 0
        }

    extra_stages = priced(extra, extra_parameters(pipeline))
    return Cost(stages=priced(stages, parameters), extra_stages=extra_stages, peak=peak)


def object_counts(pipeline: Pipeline, prompt: str) -> dict[str, Count]:
    """What each stage does for an object of all its steps.

    Where evaluations are alike, two short samplings tell what one costs and what the stage does besides: the
    whole is their straight line, drawn on to the pipeline's own number of evaluations. Stages whose evaluations do not
    change, or that are no diffusion, are those of the longer of the two; a mesh decoder's differ a little from object
    to object, by its surface.
    """
    if pipeline.evaluations_are != Evaluations.ALIKE or not has(pipeline, Stepped):
        return _at_steps(pipeline, None, prompt)[1]
    wanted = pipeline.stage_evaluations
    (fewer, first), (more, second) = (_at_steps(pipeline, steps, prompt) for steps in (1, 2))

    def whole(stage: str, count: Count) -> Count:
        if stage not in first or fewer.get(stage) == more.get(stage):
            return count
        return _drawn_on(first[stage], count, (wanted[stage] - more[stage]) / (more[stage] - fewer[stage]))

    return {stage: whole(stage, count) for stage, count in second.items()}


def extra_counts(pipeline: Pipeline, prompt: str) -> dict[str, Count]:
    """What the other decodings of an object do."""
    found: dict[str, Count] = {}
    with _steps(pipeline, 1 if has(pipeline, Stepped) else None):
        for name in pipeline.extra_stages:
            pipeline.extra(name, [prompt], counts := StageCounts())
            found |= counts.by_stage
    return found


def sparing_counts(pipeline: Pipeline, prompt: str) -> dict[str, Count]:
    """The same from one evaluation a diffusion stage, counted apart from what the stage does besides."""
    return _counted_sparingly(diffusion_places(pipeline), lambda stage: pipeline.generate([prompt], stage=stage))


def sparing_extra_counts(pipeline: Pipeline, prompt: str) -> dict[str, Count]:
    """The other decodings of the newest object from one of the parts that each asks its network in; without those whose
    parts are not known."""
    found: dict[str, Count] = {}
    for name in pipeline.extra_stages:
        if (place := pipeline.extra_part(name)) is not None:

            def decode(stage: StageCounts, name: str = name) -> object:
                return pipeline.extra(name, [prompt], stage)

            found |= _counted_sparingly({name: place}, decode)
    return found


def _counted_sparingly(places: Mapping[str, CallSite], call: Callable[[StageCounts], object]) -> dict[str, Count]:
    counts = StageCounts()
    with only_first_calls(places, at_least(1), counts.so_far) as asked:
        call(counts)
    for stage in asked:
        for alike in asked[stage].alike.values():
            (one,), made = alike.samples, counts.by_stage[stage]
            counts.by_stage[stage] = _drawn_on(made - one, made, alike.calls - 1)
    return counts.by_stage


def _at_steps(pipeline: Pipeline, steps: int | None, prompt: str) -> tuple[dict[str, int], dict[str, Count]]:
    with _steps(pipeline, steps):
        counts = StageCounts()
        pipeline.generate([prompt], stage=counts)
        return pipeline.stage_evaluations, counts.by_stage


@contextmanager
def _steps(pipeline: Pipeline, steps: int | None) -> Iterator[None]:
    """Within it, the pipeline takes no more steps than these; None: its own."""
    if steps is None:
        yield
        return
    kept, pipeline.steps = pipeline.steps, min(steps, pipeline.steps)
    try:
        yield
    finally:
        pipeline.steps = kept


def _drawn_on(first: Count, second: Count, ahead: float) -> Count:
    """The straight line through two counts, `ahead` times their distance beyond the second."""
    flops = {kind: round(count + ahead * (count - first.flops[kind])) for kind, count in second.flops.items()}
    return Count(Counter(flops), round(second.bytes_moved + ahead * (second.bytes_moved - first.bytes_moved)))
