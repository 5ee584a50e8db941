"""What the committed networks reach. These tests need the trained weights: they fail with any others.

Prompts are the first of the frozen gallery, all held out of training; so many that each test takes seconds.
"""

from __future__ import annotations

import json
import math
from functools import cache, lru_cache

import pytest
import torch

from suite.building import build
from suite.configurations import find
from suite.metrics.scoring import measure_quality
from suite.models.checkpoints.embedded import HASHES, load_embedded
from suite.models.conditioning.clip import build_clip_nano
from suite.scenes.gallery import GALLERY
from suite.training.evaluate import ground_truth_precision, hits
from tests.techniques import judge

PROMPTS = 32


@lru_cache(maxsize=1)
def ceiling() -> dict[str, float]:
    """Ground truth by the judge. 256 objects: a standard error of 1.1 points at 97 % and 2.2 at 85 %."""
    return ground_truth_precision(judge().clip, objects=256)


@cache
def scored(optimization: str):
    pipeline = build(find(f"point-e-nano-text/{optimization}@cpu"), "embedded", torch.device("cpu"))
    return measure_quality(pipeline, judge(), PROMPTS)[0]


def encoder():
    clip = build_clip_nano().eval()
    clip.load_state_dict(load_embedded("clip-nano")[0], strict=False)
    return clip


def test_the_judge_is_another_network_than_the_one_that_conditions_the_generator():
    hashes = json.loads(HASHES.read_text())
    assert hashes["clip-nano-judge"] != hashes["clip-nano"]
    a, b = load_embedded("clip-nano")[0], load_embedded("clip-nano-judge")[0]
    assert not torch.equal(a["text_projection"], b["text_projection"])


@pytest.mark.slow
def test_the_judge_recognizes_ground_truth_as_splats_and_as_solids():
    for kind in ("splats", "solid"):
        assert ceiling()[f"held_out_{kind}_153"] >= 0.97, ceiling()
        assert ceiling()[f"held_out_{kind}_3001"] >= 0.85, ceiling()


@pytest.mark.slow
def test_the_judge_knows_colours_and_shapes_that_it_never_saw_together():
    assert ceiling()["unseen_splats_153"] >= 0.5 and ceiling()["unseen_solid_153"] >= 0.5, ceiling()


@pytest.mark.slow
def test_the_conditioning_clip_tells_captions_apart():
    clip, gallery = encoder(), json.loads(GALLERY.read_text())
    found = ground_truth_precision(clip, objects=64)
    assert found["held_out_splats_153"] >= 0.9, found
    assert len(gallery["prompts"]) == 1024


def test_a_picture_of_something_else_is_no_hit():
    """The judge's gallery is no formality: the true picture of another caption never counts for this one."""
    from suite.models.conditioning.clip import embed_views
    from suite.scenes.captions import all_scenes
    from suite.scenes.renderer import judge_views
    from suite.scenes.shapes import SceneTable

    gallery = json.loads(GALLERY.read_text())
    scenes = {scene.caption: scene for scene in all_scenes()}
    captions = gallery["prompts"][:32]
    table = SceneTable([scenes[caption] for caption in captions])
    cloud = table.clouds(torch.arange(32), 256, torch.Generator().manual_seed(0))[0]
    with torch.inference_mode():
        pictures = embed_views(judge().clip, judge_views(cloud))
        right = hits(judge().clip, pictures, captions, gallery["distractors"][:152])
        wrong = hits(judge().clip, pictures.roll(1, 0), captions, gallery["distractors"][:152])
    assert right.float().mean() >= 0.9
    assert wrong.float().mean() <= 0.1


@pytest.mark.slow
def test_sixteen_steps_make_objects_that_are_recognized():
    assert scored("steps-16").r_precision.value >= 0.70


@pytest.mark.slow
def test_four_steps_are_clearly_worse_than_sixteen():
    """Too few steps really ruin the objects."""
    assert scored("steps-4").r_precision.value <= scored("steps-16").r_precision.value - 0.25
    assert scored("steps-4").r_precision.high < scored("steps-16").r_precision.value


@pytest.mark.slow
def test_objects_lie_near_the_ground_truth():
    quality = scored("steps-16")
    assert quality.chamfer is not None and quality.chamfer.value < 0.10
    assert all(outcome.chamfer is not None for outcome in quality.outcomes)


@pytest.mark.parametrize("broken", ["places and colours", "colours", "places"])
def test_a_diverged_network_is_a_miss_and_leaves_no_number_that_is_none(broken):
    """NaN ranks below nothing: a comparison with it must not count as first."""
    cloud = torch.full((2, 256, 6), 0.5)
    first, last = {"places and colours": (0, 6), "colours": (3, 6), "places": (0, 3)}[broken]
    cloud[..., first:last] = torch.nan
    for outcome in judge().score(cloud, judge().prompts[:2]):
        assert outcome.rank_153 > 0 and outcome.rank_3001 > 0
        assert all(math.isfinite(margin) for margin in (outcome.margin_153, outcome.margin_3001))
        assert outcome.chamfer is None or math.isfinite(outcome.chamfer)
