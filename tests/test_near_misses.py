"""Captions that differ in one attribute, and what the judge says of scenes that broke in just one."""

from __future__ import annotations

import pytest
import torch

from suite.judging.scores import attributes_kept
from suite.metrics.quality import NOTHING, Judge
from suite.records import PromptOutcome
from suite.scenes.captions import COLOURS, RELATIONS, SHAPES, SIZES, SYMMETRIC, Scene, Thing, all_scenes
from suite.scenes.near_misses import near_misses
from suite.scenes.shapes import SceneTable

SCENES = {scene.caption: scene for scene in all_scenes()}
PROMPT = "a small red cube on a large blue ball"
SHOWN = 24  # scenes of each kind that the judge is shown


def parts(scene: Scene) -> dict[str, object]:
    """What a scene is, by attribute, whichever of its things is named first."""
    things = [scene.thing] if scene.other is None else [scene.thing, scene.other]
    if scene.other is not None and RELATIONS[scene.relation] in SYMMETRIC:
        things = sorted(things)
    return {
        "colour": [thing.colour for thing in things],
        "shape": [thing.shape for thing in things],
        "size": [thing.size for thing in things],
        "count": scene.count,
        "relation": scene.relation,
    }


def test_near_misses_of_a_scene_by_hand():
    found = near_misses(SCENES[PROMPT])
    assert {attribute: len(some) for attribute, some in found.items()} == {
        "colour": 14,
        "shape": 14,
        "size": 4,
        "relation": 4,
    }
    assert found["size"] == [
        "a red cube on a large blue ball",
        "a large red cube on a large blue ball",
        "a small red cube on a small blue ball",
        "a small red cube on a blue ball",
    ]
    assert found["relation"][0] == "a small red cube floating above a large blue ball"
    assert found["relation"][-1] == "a large blue ball on a small red cube"
    assert near_misses(SCENES["two small red cubes"])["count"] == ["a small red cube", "three small red cubes"]


def test_two_equal_things_are_no_pair():
    assert "a red ball on a red ball" not in near_misses(SCENES["a red cube on a red ball"])["shape"]


@pytest.mark.parametrize("number", range(0, len(SCENES), 6007))
def test_every_near_miss_is_a_scene_that_differs_in_that_alone(number):
    scene = list(SCENES.values())[number]
    for attribute, captions in near_misses(scene).items():
        assert len(set(captions)) == len(captions) and scene.caption not in captions
        for caption in captions:
            other = parts(SCENES[caption])
            different = {name for name, part in parts(scene).items() if sorted_or(other[name]) != sorted_or(part)}
            assert different == {attribute} or (attribute == "relation" and not different), (scene.caption, caption)


def sorted_or(part):
    """A new colour may change which thing a symmetric relation names first."""
    return sorted(part) if isinstance(part, list) else part


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def pairs() -> list[Scene]:
    return [SCENES[prompt] for prompt in Judge().prompts[:SHOWN]]


def shown(scenes: list[Scene]) -> torch.Tensor:
    return SceneTable(scenes).clouds(torch.arange(len(scenes)), 1024, torch.Generator().manual_seed(0), 0.0)[0]


def kept(judge: Judge, made: list[Scene], asked: list[Scene]) -> dict[str, float]:
    """By attribute, the share kept where scenes were made in place of those asked for."""
    outcomes = judge.score(shown(made), [scene.caption for scene in asked])
    return {name: share.value for name, share in attributes_kept(outcomes).items()}


def other_colour(thing: Thing) -> Thing:
    return thing._replace(colour=(thing.colour + 3) % len(COLOURS))


def other_shape(thing: Thing) -> Thing:
    return thing._replace(shape=(thing.shape + 3) % len(SHAPES))


def other_size(thing: Thing) -> Thing:
    return thing._replace(size=(thing.size + 1) % len(SIZES))


@pytest.mark.parametrize(
    ("attribute", "broken"), [("colour", other_colour), ("shape", other_shape), ("size", other_size)]
)
def test_what_was_broken_is_what_is_lost(judge, attribute, broken):
    """Real scenes whose first thing is of another colour lose the colour and keep the shape; and so on."""
    asked = pairs()
    whole = kept(judge, asked, asked)
    lost = kept(judge, [scene._replace(thing=broken(scene.thing)) for scene in asked], asked)
    assert lost[attribute] <= 0.2 and whole[attribute] >= 0.5
    assert all(lost[name] >= 0.8 for name in whole if name != attribute), lost


def test_another_relation_loses_the_relation_and_no_colour(judge):
    asked = [scene for scene in pairs() if RELATIONS[scene.relation] == "on"]
    made = [scene._replace(relation=RELATIONS.index("far from")) for scene in asked]
    whole, lost = kept(judge, asked, asked), kept(judge, made, asked)
    assert lost["relation"] <= 0.1 < whole["relation"]
    assert lost["colour"] >= 0.8 and lost["shape"] >= 0.8, lost


def test_what_was_not_made_keeps_nothing(judge):
    (outcome,) = judge.score(torch.full((1, 256, 6), float("nan")), [PROMPT])
    assert outcome.attribute_margins == dict.fromkeys(("colour", "shape", "size", "relation"), NOTHING)
    assert outcome.worst_view_margin_153 == NOTHING


def test_shares_by_attribute_are_of_the_prompts_that_have_it():
    margins = [{"colour": 0.1, "count": -0.1}, {"colour": -0.1}, {"colour": 0.0}, {"colour": -0.1, "shape": -0.2}, None]
    outcomes = [PromptOutcome(prompt="x", rank_153=0, margin_153=0.1, attribute_margins=one) for one in margins]
    found = attributes_kept(outcomes)
    assert list(found) == ["colour", "shape", "count"]
    assert found["colour"].value == 0.5  # the fourth is taken for a near miss in shape
    assert found["shape"].value == found["count"].value == 0.0
    assert found["count"].low == 0.0 and found["count"].high < 1.0  # Wilson
