"""Objects made for the judge: in batches where the recipe allows it, by several processes where the device does.

Nothing here is timed. Each object is the one that is timed, up to the order of sums in another batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from suite.judging.agreement import second_opinion
from suite.judging.intervals import mean_interval
from suite.judging.scores import summarize
from suite.metrics.attributes import NO_SCENES
from suite.metrics.chamfer import chamfer
from suite.metrics.fp32_objects import NONE_KEPT, to_fp32
from suite.metrics.mesh_gate import mesh_facts
from suite.metrics.quality import NOTHING, Judge
from suite.metrics.seen import seen, why_not_finite
from suite.metrics.sharing import Lead, parts_of
from suite.models.pipeline import Objects, Pipeline
from suite.records import PromptOutcome, Quality, StartOutcome

DIVERSITY_PROMPTS = 16  # of which a second object is made
BATCH_SIZE = 8  # `benchmarks/scoring.py` compares others


@dataclass(frozen=True)
class Scored:
    """What a part of the prompts gave."""

    outcomes: list[PromptOutcome]
    distances: list[float]  # between two objects of a prompt
    faults: list[str]  # of objects that are not finite, with their prompts
    unjudged: list[str] = field(default_factory=list)  # prompts of objects that the judge gave no number for


def measure_quality(
    pipeline: Pipeline,
    judge: Judge,
    count: int,
    progress: Callable[[int], None] = lambda done: None,
    *,
    batch_size: int = 1,
    lead: Lead | None = None,
    diversity: bool = True,
    samples: int = 1,
    enough: Callable[[list[PromptOutcome]], bool] = lambda outcomes: False,
) -> tuple[Quality, Objects]:
    """Quality over the first `count` prompts, and the first part's objects, for the contact sheet.

    lead: this process's share of the work, where others help. diversity: make a second object of the first prompts.
    samples: objects of each prompt, of different start noise.
    enough: asked after each part, in their order whoever made them, so that it ends at the same prompt everywhere.
    ValueError for a count that the judge does not have.
    """
    if not 1 <= count <= len(judge.prompts):
        raise ValueError(f"quality prompts: {count} is not possible; 1 to {len(judge.prompts)}")
    parts = parts_of(count)
    first = generated(pipeline, _prompts(judge, parts[0]), batch_size=batch_size)
    done = {0: score_part(pipeline, judge, parts[0], batch_size, first, diversity, samples)}
    row = Row(done, len(parts), enough)
    for number in _numbers(len(parts), lead, done):
        if row.ended():
            break
        done[number] = score_part(pipeline, judge, parts[number], batch_size, diversity=diversity, samples=samples)
        if lead is not None:
            done |= lead.answers()
        progress(sum(len(part.outcomes) for part in done.values()))
    scored = row.whole()
    distances = [distance for part in scored for distance in part.distances]
    quality = summarize(
        judge.name,
        [outcome for part in scored for outcome in part.outcomes],
        mean_interval(distances) if distances else None,
    )
    faults = [fault for part in scored for fault in part.faults]
    unjudged = [prompt for part in scored for prompt in part.unjudged]
    said = {
        "batch_size": batch_size,
        "second_opinion": second_opinion(judge.second_name or "", quality.outcomes),
        "warnings": _missed(faults, unjudged, len(quality.outcomes)),
        "not_known": why_not_known(quality),
    }
    return quality.model_copy(update=said), first


def why_not_known(quality: Quality) -> dict[str, str]:
    """By field, why a number is missing that other models and prompts have."""
    unknown = {} if quality.chamfer_to_fp32 else dict.fromkeys(("chamfer_to_fp32", "f_score_to_fp32"), NONE_KEPT)
    return unknown if quality.attributes else unknown | {"attributes": NO_SCENES}


class Row:
    """The parts that are done without a gap from the first on, and where in their row there are enough."""

    def __init__(self, done: dict[int, Scored], parts: int, enough: Callable[[list[PromptOutcome]], bool]):
        self._done, self._parts, self._enough = done, parts, enough
        self._length, self._ended = 0, False

    def ended(self) -> bool:
        while not self._ended and self._length < self._parts and self._length in self._done:
            self._length += 1
            outcomes = [outcome for part in self._taken() for outcome in part.outcomes]
            self._ended = self._length < self._parts and self._enough(outcomes)
        return self._ended

    def whole(self) -> list[Scored]:
        """The parts that count, when no more will be done."""
        self.ended()
        return self._taken()

    def _taken(self) -> list[Scored]:
        return [self._done[number] for number in range(self._length)]


def _missed(faults: list[str], unjudged: list[str], count: int) -> list[str]:
    """Warnings of the objects that hold NaN or infinity, and of those that the judge has no number for."""
    found = []
    if faults:
        found.append(f"{len(faults)} of {count} objects hold NaN or infinity and count as misses (first: {faults[0]})")
    if unjudged:
        of = f"{len(unjudged)} of {count} objects"
        found.append(f"the judge's vectors of {of} hold NaN or infinity and count as misses (first: {unjudged[0]!r})")
    return found


def _numbers(parts: int, lead: Lead | None, done: dict[int, Scored]) -> Iterator[int]:
    """The parts that this process makes: those that it takes before others do, then those that nobody answered for."""
    if lead is not None:
        yield from lead.take()
        done |= lead.answers(patience_s=None)
    yield from (number for number in range(parts) if number not in done)


def score_part(
    pipeline: Pipeline,
    judge: Judge,
    part: Sequence[int],
    batch_size: int,
    objects: Objects | None = None,
    diversity: bool = True,
    samples: int = 1,
) -> Scored:
    """Score the prompts at these positions. objects: theirs, where they are made already."""
    prompts = _prompts(judge, part)
    objects = generated(pipeline, prompts, batch_size=batch_size) if objects is None else objects
    others, starts = None, [[] for _ in prompts]
    for sample in range(1, max(samples, 2)):
        # One start is scored alone; a second object of the first prompts shows how much two differ.
        asked = prompts if sample < samples else prompts[: paired(part) if diversity else 0]
        made = generated(pipeline, asked, sample=sample, batch_size=batch_size) if asked else []
        others = made[: paired(part)] if sample == 1 and diversity and paired(part) else others
        for found, outcome in zip(starts, judge.score(made, asked) if sample < samples else []):
            found.append(StartOutcome(rank_153=outcome.rank_153, rank_3001=outcome.rank_3001))
    broken = [(prompt, why_not_finite(one)) for prompt, one in zip(prompts, objects)]
    faults = [f"{prompt!r} is {why}" for prompt, why in broken if why is not None]
    outcomes = beside_recognition(judge.score(objects, prompts), objects, getattr(pipeline, "model", ""))
    if samples > 1:
        outcomes = [one.model_copy(update={"other_starts": found}) for one, found in zip(outcomes, starts)]
    unjudged = [
        outcome.prompt
        for outcome, one, (_, why) in zip(outcomes, objects, broken)
        if outcome.margin_153 == NOTHING and why is None and not getattr(one, "empty", False)
    ]
    return Scored(outcomes, [] if others is None else apart(objects, others), faults, unjudged)


def paired(part: Sequence[int]) -> int:
    """Of how many prompts of a part, its first ones, a second object is made."""
    return sum(position < DIVERSITY_PROMPTS for position in part)


def beside_recognition(outcomes: list[PromptOutcome], objects: Objects, model: str) -> list[PromptOutcome]:
    """The outcomes with what needs no judge: the distance to fp32's object, and what a mesh is like."""
    distances = to_fp32(model, objects, [outcome.prompt for outcome in outcomes])
    found = []
    for outcome, one, distance in zip(outcomes, objects, distances):
        chamfer_, f_score = (None, None) if distance is None else (round(part, 5) for part in distance)
        facts = {"chamfer_to_fp32": chamfer_, "f_score_to_fp32": f_score, "mesh": mesh_facts(one)}
        found.append(outcome.model_copy(update=facts))
    return found


def _prompts(judge: Judge, part: Iterable[int]) -> list[str]:
    return [judge.prompts[position] for position in part]


def generated(pipeline: Pipeline, prompts: list[str], sample: int = 0, batch_size: int = 1) -> Objects:
    """The objects of these prompts, so many made together; clouds as float32 on the CPU."""
    made = [
        pipeline.generate(prompts[start : start + batch_size], sample=sample)
        for start in range(0, len(prompts), batch_size)
    ]
    if isinstance(made[0], Tensor):
        return torch.cat(made).float().cpu()
    return [mesh for batch in made for mesh in batch]


def apart(objects: Objects, others: Objects) -> list[float]:
    """The Chamfer distances between first objects and second ones of the same prompts, where both were made."""
    a, b = seen(objects[: len(others)]), seen(others)
    both = a.made & b.made
    return chamfer(a.clouds[both][..., :3], b.clouds[both][..., :3]).tolist()
