"""Captions that differ from a scene's own in one attribute: which of them an object is taken for says what broke.

Hard negatives by replacing and by swapping, as in SugarCrepe (Hsieh et al. 2023, arXiv:2306.14610) and Winoground
(Thrush et al. 2022, arXiv:2204.03162); the attributes are those of T2I-CompBench (Huang et al. 2023, arXiv:2307.06350)
and GenEval (Ghosh et al. 2023, arXiv:2310.11513). Here the grammar makes them, so each is a scene that could be.
"""

from __future__ import annotations

from collections.abc import Iterator

from suite.records import Attribute
from suite.scenes.captions import COLOURS, COUNTS, RELATIONS, SHAPES, SIZES, SYMMETRIC, Scene

OF_A_THING: dict[Attribute, tuple[str, ...]] = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}


def near_misses(scene: Scene) -> dict[Attribute, list[str]]:
    """By attribute, every caption that differs from the scene's in it alone; an attribute that it lacks is left out.

    One thing's colour, shape or size is another; the relation is another, or the two things change places; of equal
    things there are more or fewer.
    """
    found = {attribute: _changed(scene, attribute, len(words)) for attribute, words in OF_A_THING.items()}
    if scene.other is None:
        found["count"] = (scene._replace(count=count) for count in range(len(COUNTS)))
    else:
        found["relation"] = _related(scene)
    return {attribute: _captions(scene, scenes) for attribute, scenes in found.items()}


def _changed(scene: Scene, attribute: str, values: int) -> Iterator[Scene]:
    for place in ("thing", "other"):
        thing = getattr(scene, place)
        if thing is not None:
            yield from (scene._replace(**{place: thing._replace(**{attribute: value})}) for value in range(values))


def _related(scene: Scene) -> Iterator[Scene]:
    yield from (scene._replace(relation=relation) for relation in range(len(RELATIONS)))
    yield scene._replace(thing=scene.other, other=scene.thing)


def _captions(scene: Scene, scenes: Iterator[Scene]) -> list[str]:
    """Of those that are scenes of the grammar, each once: two equal things are a count and no pair."""
    own = scene.caption
    captions = (_in_order(found).caption for found in scenes if found.thing != found.other)
    return [caption for caption in dict.fromkeys(captions) if caption != own]


def _in_order(scene: Scene) -> Scene:
    """A symmetric relation names its things in the order of the catalogue."""
    if scene.other is not None and RELATIONS[scene.relation] in SYMMETRIC and scene.thing > scene.other:
        return scene._replace(thing=scene.other, other=scene.thing)
    return scene
