"""The shares and means of what was scored, a prompt each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import get_args

from suite.judging.anytime import share as at_any_time
from suite.judging.intervals import clustered_proportion, mean_interval, proportion
from suite.records import Attribute, Interval, MeshGate, PromptOutcome, Quality

ATTRIBUTES = get_args(Attribute)


def summarize(
    judge: str, outcomes: Sequence[PromptOutcome], diversity: Interval | None = None, *, anytime: bool = False
) -> Quality:
    """The quality that these outcomes show. diversity: Chamfer distance between two objects of a prompt. anytime: how
    many there are was settled by looking at them, which the shares' intervals then have to bear."""
    worst = [outcome.worst_view_margin_153 for outcome in outcomes]
    return Quality(
        judge=judge,
        outcomes=list(outcomes),
        r_precision=_recognized(outcomes, 153, anytime),
        r_precision_3001=_recognized(outcomes, 3001, anytime),
        worst_view=_share((lead > 0 for lead in worst if lead is not None), anytime),
        attributes=attributes_kept(outcomes, anytime),
        chamfer=_mean(o.chamfer for o in outcomes if o.chamfer is not None),
        chamfer_to_fp32=_mean(o.chamfer_to_fp32 for o in outcomes if o.chamfer_to_fp32 is not None),
        f_score_to_fp32=_mean_share(o.f_score_to_fp32 for o in outcomes if o.f_score_to_fp32 is not None),
        meshes=_gate(outcomes),
        diversity=diversity,
    )


def hit_shares(outcomes: Iterable[PromptOutcome], gallery: int) -> dict[str, float]:
    """By prompt, the share of its objects whose own caption is first, of all starts; without those that the gallery of
    this size does not have."""
    found = {}
    for outcome in outcomes:
        ranks = [getattr(one, f"rank_{gallery}") for one in (outcome, *outcome.other_starts)]
        known = [rank == 0 for rank in ranks if rank is not None]
        if known:
            found[outcome.prompt] = sum(known) / len(known)
    return found


def _recognized(outcomes: Sequence[PromptOutcome], gallery: int, anytime: bool) -> Interval | None:
    shares = hit_shares(outcomes, gallery)
    if any(outcome.other_starts for outcome in outcomes) and shares:
        return clustered_proportion(list(shares.values()))
    return _share((share == 1 for share in shares.values()), anytime)


def attributes_kept(outcomes: Iterable[PromptOutcome], anytime: bool = False) -> dict[Attribute, Interval]:
    """By attribute, the share of objects that keep it. One that no prompt has is left out."""
    found = [kept(o) for o in outcomes]
    shares = {name: _share((one[name] for one in found if name in one), anytime) for name in ATTRIBUTES}
    return {name: share for name, share in shares.items() if share is not None}


def kept(outcome: PromptOutcome) -> dict[Attribute, bool]:
    """Whether an object keeps each attribute of its prompt. It loses the one whose near miss the judge takes it for.

    Only that one: of an object in the wrong colour the judge no longer tells the shapes apart either, so near misses of
    shape lead its own caption too, but less than the caption with the right colour does. What was not made loses all.
    """
    margins = outcome.attribute_margins or {}
    least = min(margins.values(), default=0.0)
    return {name: margin > min(least, 0.0) for name, margin in margins.items()}


def _share(hits: Iterable[bool], anytime: bool = False) -> Interval | None:
    """With Wilson's interval, or one that holds wherever scoring ended."""
    known = list(hits)
    rate = at_any_time if anytime else proportion
    return rate(sum(known), len(known)) if known else None


def _mean(values: Iterable[float]) -> Interval | None:
    known = list(values)
    return mean_interval(known) if known else None


def _mean_share(values: Iterable[float]) -> Interval | None:
    """Of a few, Student's interval may reach beyond 0 or 1, where no share lies."""
    mean = _mean(values)
    if mean is None or mean.low is None or mean.high is None:
        return mean
    return Interval(value=mean.value, low=max(0.0, mean.low), high=min(1.0, mean.high))


def _gate(outcomes: Iterable[PromptOutcome]) -> MeshGate | None:
    meshes = [o.mesh for o in outcomes if o.mesh is not None]
    if not meshes:
        return None
    return MeshGate(
        meshes=len(meshes),
        watertight=_share(mesh.watertight for mesh in meshes),
        components=median(mesh.components for mesh in meshes),
        degenerate_faces=sum(mesh.degenerate_faces for mesh in meshes) / sum(mesh.faces for mesh in meshes),
    )
