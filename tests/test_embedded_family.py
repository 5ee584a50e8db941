"""Every embedded model, with its real weights: its stages, its noise, what it makes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache

import pytest
import torch

from suite.catalogue.models import MODELS
from suite.metrics.scoring import generated, measure_quality
from suite.metrics.seen import seen
from suite.models.conditioning.clip import embed_views
from suite.models.conditioning.embedded import enlarged
from suite.models.mesh import Mesh
from suite.names import resolve
from suite.scenes.gallery import GALLERY
from suite.training.evaluate import hits
from suite.training.gate_upsampler import ALLOWED, off_surface
from tests.techniques import judge

EMBEDDED = [name for name, model in MODELS.items() if "embedded" in model.weights]
PICTURES = [name for name in EMBEDDED if MODELS[name].conditioning != "text"]
PROMPTS = 24  # standard error of 10 points at worst; thresholds leave two
CPU = torch.device("cpu")


@cache
def pipeline(name: str):
    made = resolve(MODELS[name].builder)("embedded", CPU)
    made.steps = 8
    return made


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_model_runs_the_stages_of_its_entry_in_order(name):
    ran = []

    @contextmanager
    def stage(called):
        ran.append(called)
        yield

    pipeline(name).generate(["a red cube"], stage=stage)
    assert tuple(ran) == MODELS[name].stages
    assert set(pipeline(name).diffusion) <= set(MODELS[name].stages)
    assert set(pipeline(name).networks) == set(MODELS[name].stages)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_object_does_not_depend_on_its_batch_and_another_sample_is_another_object(name):
    prompts = ["a red cube", "a small blue ball on a large green disc"]
    together, alone = pipeline(name).generate(prompts), generated(pipeline(name), prompts)
    a, b = seen(together).clouds, seen(alone).clouds
    assert (a - b).abs().mean() < 2e-3  # summation order, grown by the sampler
    other = seen(generated(pipeline(name), prompts, sample=1)).clouds
    assert (other - b).abs().mean() > 2e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in EMBEDDED if name != "point-e-nano-text"]
)  # test_embedded_quality has it
def test_sixteen_steps_make_objects_that_are_recognized(name):
    made = pipeline(name)
    made.steps = 16
    try:
        quality = measure_quality(made, judge(), PROMPTS)[0]
    finally:
        made.steps = 8
    assert quality.r_precision.value >= 0.65, quality.r_precision
    assert quality.chamfer.value < 0.12
    assert 0 < quality.diversity.value < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_between_are_pictures_of_the_prompt(name):
    prompts = judge().prompts[:PROMPTS]
    pictures = pipeline(name).condition.pictures(prompts, 0, lambda stage: torch.no_grad())
    assert pictures.shape[1:] == (3, 32, 32) and 0 <= pictures.min() and pictures.max() <= 1
    large = enlarged(pictures)
    vectors = embed_views(judge().clip, large[:, None])
    distractors = json.loads(GALLERY.read_text())["distractors"][:152]
    assert hits(judge().clip, vectors, prompts, distractors).float().mean() >= 0.7


@pytest.mark.slow
def test_new_points_lie_on_the_surface():
    made = resolve(MODELS["point-e-nano-text"].builder)("embedded", CPU)
    made.steps = 16
    found = off_surface(made, judge().prompts[:16])
    assert found["new"] <= 1.1 * ALLOWED * found["floor"], found  # sixteen prompts, sixteen steps


@pytest.mark.parametrize("name", [name for name in EMBEDDED if MODELS[name].family == "shap-e"])
def test_views_are_decoded_from_the_same_latent_as_the_mesh(name):
    prompts = ["a large red ball"]
    (mesh,), views = pipeline(name).generate(prompts), pipeline(name).extra("NeRF views", prompts)
    assert isinstance(mesh, Mesh) and not mesh.empty
    assert views.shape == (1, 20, 3, 64, 64)
    assert 0 <= views.min() and views.max() <= 1.0 + 1e-5
    covered = (views[0].amin(1) < 0.7).float().mean((1, 2))  # not white
    assert (covered > 0.02).all()
    assert not torch.equal(views[0, 0], views[0, -1])  # first and last are different views
