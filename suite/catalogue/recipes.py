"""What an optimization is made of, and how several become one. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from suite.catalogue.devices import Device
from suite.names import UnknownName

ORIGINAL = "original"  # the authors' own code, which `speedup_vs_original` is taken to
ARITHMETIC = "arithmetic"  # what the networks compute in, as `Technique.sets` names it


class UnsupportedRecipe(RuntimeError):
    """A technique finds at run time that this machine cannot do it; says why."""


class Place(IntEnum):
    """Where a technique stands in a recipe: what it finds must not have been changed by one that comes before it."""

    NETWORKS = 0  # exchanges whole networks
    SCALES = 1  # moves numbers between layers, for the arithmetic behind it
    ARITHMETIC = 2
    COMPILATION = 3
    ATTENTION = 4
    CALLS = 5  # changes how a network is called


@dataclass(frozen=True)
class Technique:
    """One step of a recipe, and all that composing it takes to know."""

    name: str  # becomes a pytest mark
    apply: str  # "module:function", called as function(pipeline, device, **parameters) -> pipeline
    parameters: dict[str, Any] = field(default_factory=dict)
    sets: tuple[str, ...] = ()  # what no other technique of a recipe may set besides; none: its own name
    place: Place | None = None  # None: anywhere
    samples: bool = False  # it says how objects are sampled (steps, guidance, pictures)
    looks: bool = False  # at how objects are sampled, so that what says how must come before
    leaves_out: str | None = None  # a stage whose network it does without
    one_at_a_time: bool = False  # it finds ranges in the batch at hand, or is made anew for each size of batch


@dataclass(frozen=True)
class RunsOn:
    """The only kinds of device that a recipe runs on, and why it does not run on others."""

    kinds: tuple[str, ...]
    why_not_elsewhere: str


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """A recipe: techniques in their order, and the kinds of device (`Device.kind`) that it is for."""

    name: str
    techniques: tuple[Technique, ...] = ()
    source: str
    simulated: bool = False  # arithmetic is imitated: quality is true, latency would not be
    runs_on: tuple[RunsOn, ...] = ()  # all of them hold; none: every kind
    needs: tuple[str, ...] = ()  # what some devices lack (`Device.lacks`)
    in_matrix_of: tuple[str, ...] | None = None  # kinds; None: every kind. Elsewhere it runs when it is named

    @property
    def modules(self) -> tuple[str, ...]:
        """Whose code it runs. Imported before memory is read, since Python modules are not the recipe's memory."""
        return tuple(technique.apply.partition(":")[0] for technique in self.techniques)

    def why_unsupported(self, device: Device) -> str | None:
        """Why this device cannot run it; None where it can. What only a run shows is no matter here."""
        for only in self.runs_on:
            if device.kind not in only.kinds:
                return only.why_not_elsewhere
        return next((device.lacks[need] for need in self.needs if need in device.lacks), None)

    def in_matrix(self, device: Device) -> bool:
        """Whether a session on this device runs it without being told its name."""
        return self.in_matrix_of is None or device.kind in self.in_matrix_of

    @property
    def one_at_a_time(self) -> bool:
        """Whether what it makes would depend on the objects that are made beside it."""
        return any(technique.one_at_a_time for technique in self.techniques)

    @property
    def leaves_out(self) -> frozenset[str]:
        """The stages whose networks it does without."""
        return frozenset(t.leaves_out for t in self.techniques if t.leaves_out is not None)


class ImpossibleComposition(UnknownName):
    """Recipes that cannot be one; says which techniques are in each other's way."""


def composed(name: str, parts: Sequence[Optimization]) -> Optimization:
    """The recipe of this name that the entries in it make, their techniques in that order.

    ImpossibleComposition where two of them set the same thing: each technique once, and one kind of arithmetic; and
    where one comes before another that it must follow.
    """
    held: dict[str, str] = {}  # what is set -> by which part
    for part in parts:
        if not part.techniques:
            raise ImpossibleComposition(f"{name}: {part.name} is the reference, and adds nothing to another recipe")
        for kind in {kind for t in part.techniques for kind in (t.sets or (t.name,))}:
            if kind in held:
                raise ImpossibleComposition(
                    f"{name}: {held[kind]} and {part.name} both set the {kind}; take one of them"
                )
            held[kind] = part.name
    placed = [(t.place, part.name) for part in parts for t in part.techniques if t.place is not None]
    for (here, early), (there, late) in zip(placed, placed[1:]):
        if here > there:
            right = sorted(parts, key=lambda part: min(_last_if_none(t.place) for t in part.techniques))
            raise ImpossibleComposition(
                f"{name}: {early} comes behind {late}; write {'+'.join(part.name for part in right)}"
            )
    looking = None
    for part in parts:
        if looking and any(t.samples for t in part.techniques):
            raise ImpossibleComposition(
                f"{name}: {looking.name} looks at how objects are sampled; put {part.name} before {looking.name}"
            )
        looking = part if any(t.looks for t in part.techniques) else looking
    return Optimization(
        name=name,
        techniques=tuple(technique for part in parts for technique in part.techniques),
        source="; ".join(f"{part.name}: {part.source}" for part in parts),
        simulated=any(part.simulated for part in parts),
        runs_on=tuple(only for part in parts for only in part.runs_on),
        needs=tuple(dict.fromkeys(need for part in parts for need in part.needs)),
    )


def _last_if_none(place: Place | None) -> int:
    return len(Place) if place is None else place
