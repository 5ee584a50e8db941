"""What an object costs by stage: arithmetic, traffic, parameters, and the time that the machine's peaks allow at least.

python -m suite.metrics.cost          # the published networks, counted without weights
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from suite.judging.roofline import floor_s
from suite.metrics.extrapolation import Place, at_least, diffusion_places, few
from suite.metrics.roofline import Count, Counting, counted, machine_peak
from suite.models.pipeline import Pipeline
from suite.models.point_e_network import CHANNELS, PUBLISHED, PointDiffusionTransformer
from suite.models.samplers import EVERYWHERE
from suite.records import Cost, StageCost

EVALUATIONS = 127  # an object's of each published network: 64 steps


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
    return {stage: sum(p.numel() for p in network.parameters()) for stage, network in pipeline.networks.items()}


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

    def priced(counts: Mapping[str, Count]) -> dict[str, StageCost]:
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

    return Cost(stages=priced(stages), extra_stages=priced(extra), peak=peak)


def object_counts(pipeline: Pipeline, prompt: str) -> dict[str, Count]:
    """What each stage does for an object of all its steps.

    An evaluation always does the same, so two short samplings tell what one costs and what the stage does besides: the
    whole is their straight line, drawn on to the pipeline's own number of evaluations. Stages whose evaluations do not
    change, or that are no diffusion, are those of the longer of the two; a mesh decoder's differ a little from object to
    object, by its surface.
    """
    if getattr(pipeline, "guided_within", EVERYWHERE) != EVERYWHERE:  # then evaluations differ
        return _at_steps(pipeline, pipeline.steps, prompt)[1]
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
    with _steps(pipeline, 1):
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
            make = lambda stage, name=name: pipeline.extra(name, [prompt], stage)
            found |= _counted_sparingly({name: place}, make)
    return found


def _counted_sparingly(places: Mapping[str, Place], call: Callable[[StageCounts], object]) -> dict[str, Count]:
    counts = StageCounts()
    with few(places, at_least(1), counts.so_far) as asked:
        call(counts)
    for stage in asked:
        for alike in asked[stage].alike.values():
            (one,), made = alike.samples, counts.by_stage[stage]
            counts.by_stage[stage] = _drawn_on(made - one, made, alike.calls - 1)
    return counts.by_stage


def _at_steps(pipeline: Pipeline, steps: int, prompt: str) -> tuple[dict[str, int], dict[str, Count]]:
    with _steps(pipeline, steps):
        counts = StageCounts()
        pipeline.generate([prompt], stage=counts)
        return pipeline.stage_evaluations, counts.by_stage


@contextmanager
def _steps(pipeline: Pipeline, steps: int) -> Iterator[None]:
    kept, pipeline.steps = pipeline.steps, min(steps, pipeline.steps)
    try:
        yield
    finally:
        pipeline.steps = kept


def _drawn_on(first: Count, second: Count, ahead: float) -> Count:
    """The straight line through two counts, `ahead` times their distance beyond the second."""
    flops = {kind: round(count + ahead * (count - first.flops[kind])) for kind, count in second.flops.items()}
    return Count(Counter(flops), round(second.bytes_moved + ahead * (second.bytes_moved - first.bytes_moved)))


# The published networks, on the device `meta`: shapes without numbers


def published_evaluation(name: str, batch: int) -> tuple[Count, int]:
    """One evaluation of an official point transformer in float32 on so many rows, and its parameters."""
    settings = PUBLISHED[name]
    with torch.device("meta"):
        network = PointDiffusionTransformer(settings).eval()
        inputs = {"x": torch.empty(batch, CHANNELS, settings.points), "t": torch.empty(batch)}
        if settings.conditioning == "vector":
            inputs["clip"] = torch.empty(batch, settings.clip_width)
        elif settings.conditioning != "none":
            inputs["clip"] = torch.empty(batch, settings.clip_tokens, settings.clip_width)
        if settings.conditioning == "grid+points":
            inputs["low_resolution"] = torch.empty(batch, CHANNELS, settings.low_resolution_points)
        return counted(lambda: network(**inputs)), _parameters(network)


def published_clip() -> dict[str, tuple[Count, int]]:
    """CLIP ViT-L/14's two sides, a prompt and a picture each, and their parameters."""
    from suite.models.clip import import_open_clip

    open_clip = import_open_clip()
    config = open_clip.get_model_config("ViT-L-14")
    with torch.device("meta"):
        clip = open_clip.model.CLIP(
            embed_dim=config["embed_dim"],
            vision_cfg=open_clip.model.CLIPVisionCfg(**config["vision_cfg"]),
            text_cfg=open_clip.model.CLIPTextCfg(**config["text_cfg"]),
        ).eval()
        tokens, picture = torch.zeros(1, 77, dtype=torch.long), torch.empty(1, 3, 224, 224)
        seen, all_of_it = _parameters(clip.visual), _parameters(clip)
        return {
            "CLIP ViT-L/14, text": (counted(lambda: clip.encode_text(tokens)), all_of_it - seen),
            "CLIP ViT-L/14, image": (counted(lambda: clip.encode_image(picture)), seen),
        }


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


PUBLISHED_ROWS = [
    ("base40M-textvec", 2), ("base40M-imagevec", 2), ("base40M", 2), ("base300M", 2), ("base1B", 2),
    ("upsample", 1), ("upsample", 2),
]  # fmt: skip
"""A batch of 2 is one object under guidance, of 1 without."""


def published_table() -> list[str]:
    """Lines of Markdown: `docs/cost.md` has them."""
    lines = [
        "| network | batch | parameters | GFLOP an evaluation | TFLOP an object | MB an evaluation, float32 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = [(name, batch, EVALUATIONS, *published_evaluation(name, batch)) for name, batch in PUBLISHED_ROWS]
    rows += [(name, 1, 1, *found) for name, found in published_clip().items()]
    for name, batch, evaluations, count, parameters in rows:
        flops = count.total_flops
        lines.append(
            f"| {name} | {batch} | {parameters:,} | {flops / 1e9:,.1f} | {flops * evaluations / 1e12:,.3g} | "
            f"{count.bytes_moved / 1e6:,.0f} |"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(published_table()))
