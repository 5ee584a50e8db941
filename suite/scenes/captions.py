"""The caption grammar of the embedded models: coloured primitive shapes, sizes, counts and relations.

A caption names one scene: one to three equal objects ("two small red cubes") or two different
objects and how they stand ("a small red cube on a large blue ball"). Every caption has exactly one
meaning and every meaning exactly one caption: symmetric relations name their objects in a fixed order.
Without torch, so that prompts can be listed before anything heavy is imported.
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache
from typing import NamedTuple

SHAPES = ("ball", "cube", "cone", "cylinder", "ring", "disc", "cross", "arch")
PLURALS = {shape: shape + "s" for shape in SHAPES} | {"cross": "crosses", "arch": "arches"}
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "black")
SIZES = ("small", "medium", "large")  # "medium" is what no size word means
COUNTS = ("a", "two", "three")
RELATIONS = ("on", "floating above", "next to", "far from")
SYMMETRIC = ("next to", "far from")

# Never shown in training, in any caption: one colour for each shape.
UNSEEN_COMBINATIONS = frozenset(zip(("purple", "cyan", "blue", "orange", "green", "red", "yellow", "black"), SHAPES))
HELD_OUT_SHARE = 0.10  # of the pairings of two seen objects


class Thing(NamedTuple):
    size: int
    colour: int
    shape: int

    @property
    def unseen(self) -> bool:
        return (COLOURS[self.colour], SHAPES[self.shape]) in UNSEEN_COMBINATIONS

    @property
    def named(self) -> str:
        words = self.words()
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    def words(self, plural: bool = False) -> str:
        noun = SHAPES[self.shape]
        size = "" if SIZES[self.size] == "medium" else SIZES[self.size] + " "
        return f"{size}{COLOURS[self.colour]} {PLURALS[noun] if plural else noun}"


class Scene(NamedTuple):
    """`count` equal things, or (when `other` is set) one thing in a relation to another."""

    thing: Thing
    count: int = 0  # index into COUNTS
    relation: int = -1  # index into RELATIONS
    other: Thing | None = None

    @property
    def caption(self) -> str:
        if self.other is None:
            return f"{COUNTS[self.count]} {self.thing.words(plural=True)}" if self.count else self.thing.named
        return f"{self.thing.named} {RELATIONS[self.relation]} {self.other.named}"

    @property
    def split(self) -> str:
        """`training`, `held-out` (pairing never trained, both objects seen) or `unseen` (a new colour × shape)."""
        if self.thing.unseen or (self.other is not None and self.other.unseen):
            return "unseen"
        if self.other is None:
            return "training"
        pairing = " + ".join(sorted((self.thing.words(), self.other.words())))
        return "held-out" if hash_fraction(pairing) < HELD_OUT_SHARE else "training"


def hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


THINGS = tuple(
    Thing(size, colour, shape)
    for size in range(len(SIZES))
    for colour in range(len(COLOURS))
    for shape in range(len(SHAPES))
)


@lru_cache(maxsize=1)
def all_scenes() -> tuple[Scene, ...]:
    """Every scene of the grammar, in a fixed order (110,592)."""
    scenes = [Scene(thing, count=count) for count in range(len(COUNTS)) for thing in THINGS]
    for relation, words in enumerate(RELATIONS):
        for first, thing in enumerate(THINGS):
            for second, other in enumerate(THINGS):
                if first == second or (words in SYMMETRIC and first > second):
                    continue
                scenes.append(Scene(thing, relation=relation, other=other))
    return tuple(scenes)


_NAMED = {thing.named: thing for thing in THINGS}
_LONE = {scene.caption: scene for scene in (Scene(thing, count=n) for n in range(len(COUNTS)) for thing in THINGS)}


def scene_of(caption: str) -> Scene | None:
    """What a caption says, without making all scenes; None where it is none of the grammar."""
    if caption in _LONE:
        return _LONE[caption]
    for relation, words in enumerate(RELATIONS):
        first, _, second = caption.partition(f" {words} ")
        thing, other = _NAMED.get(first), _NAMED.get(second)
        if thing is not None and other is not None:
            in_order = thing < other if words in SYMMETRIC else thing != other
            return Scene(thing, relation=relation, other=other) if in_order else None
    return None


def scenes_of(split: str) -> list[Scene]:
    return [scene for scene in all_scenes() if scene.split == split]


def draw_gallery(prompts: int = 1024, distractors: int = 3000, tuning: int = 256, seed: int = 20261123) -> dict:
    """The captions that are scored, those they are ranked against, and those on which settings are chosen.

    All held out of training, all different. `suite/embedded/gallery.json` is this function's frozen result.
    """
    captions = [scene.caption for scene in scenes_of("held-out")]
    random.Random(seed).shuffle(captions)
    ends = (prompts, prompts + distractors, prompts + distractors + tuning)
    return {
        "prompts": captions[: ends[0]],
        "distractors": captions[ends[0] : ends[1]],
        "tuning": captions[ends[1] : ends[2]],
    }


WORDS = tuple(
    dict.fromkeys(
        [*COUNTS, "an", *SIZES, *COLOURS, *SHAPES, *PLURALS.values()]
        + [word for relation in RELATIONS for word in relation.split()]
    )
)


def normalize(prompt: str) -> str:
    """Lower case, one space between words, no full stop at the end."""
    return " ".join(prompt.lower().split()).strip(" .,")
