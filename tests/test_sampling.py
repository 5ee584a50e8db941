"""Stages sampled apart, guidance in an interval, students that take long steps."""

from __future__ import annotations

import math
import re
from functools import cache

import pytest
import torch

from suite.building import build
from suite.catalogue.optimizations import find_optimization
from suite.catalogue.recipes import ImpossibleComposition, UnsupportedRecipe
from suite.configurations import find
from suite.metrics.cost import object_counts
from suite.models.point_e.full_size import build_40m_text
from suite.models.point_e.pipeline import POSITION_SCALE
from suite.models.sampling.denoiser import Denoiser, cosine_schedule
from suite.models.sampling.settings import Sampled, Sampling
from suite.models.sampling.solvers import levels
from suite.names import UnknownName, resolve
from suite.optimizations.decoding.sparse_decode import refine
from suite.optimizations.sampling.copied_points import copy_points
from suite.optimizations.sampling.distilled import use_student
from suite.optimizations.sampling.guidance import limit
from suite.optimizations.sampling.picture_steps import set_picture_steps
from suite.optimizations.sampling.steps import set_steps
from suite.training.train_distilled import point_e_nano_text_distilled
from tests.techniques import pipeline

CPU = torch.device("cpu")
PROMPT = "a small red cube on a large blue ball"


def built(model: str = "point-e-nano-text"):
    return pipeline(model=model)


def asked_of(made, stage: str) -> list[int]:
    """Fills with the rows of each evaluation of a stage's network."""
    rows = []
    made.networks[stage].register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    return rows


# Stages apart.


def test_a_stage_can_have_steps_of_its_own():
    made = set_steps(built(), CPU, steps=3)
    made = set_steps(made, CPU, steps=2, solver="euler", stages=("upsampler",))
    base, upsampler = asked_of(made, "base diffusion"), asked_of(made, "upsampler")
    made.generate([PROMPT])
    assert (len(base), len(upsampler)) == (5, 2)
    assert made.stage_evaluations == {"base diffusion": 5, "upsampler": 2} and made.evaluations == 7


def test_steps_of_all_stages_end_those_of_one():
    made = set_steps(built(), CPU, steps=2, stages=("upsampler",))
    assert set_steps(made, CPU, steps=4).stage_evaluations == {"base diffusion": 7, "upsampler": 7}


def test_steps_of_a_stage_that_a_model_lacks_are_refused():
    with pytest.raises(UnsupportedRecipe, match="shap-e-nano-text has no diffusion stage 'upsampler'"):
        set_steps(built("shap-e-nano-text"), CPU, steps=2, stages=("upsampler",))
    with pytest.raises(UnknownName, match="upsampler"):
        set_steps(built(), CPU, steps=2, stages=("upsampller",))


def test_an_objects_work_is_counted_stage_by_stage():
    made = set_steps(set_steps(built(), CPU, steps=4), CPU, steps=3, solver="euler", stages=("upsampler",))
    whole = object_counts(made, PROMPT)
    one = object_counts(
        set_steps(set_steps(built(), CPU, steps=1), CPU, steps=3, solver="euler", stages=("upsampler",)), PROMPT
    )
    assert whole["upsampler"].total_flops == one["upsampler"].total_flops
    assert whole["base diffusion"].total_flops == pytest.approx(7 * one["base diffusion"].total_flops, rel=0.01)


def test_a_sampling_can_have_levels_of_its_own():
    schedule = cosine_schedule()
    narrow = Sampling(8, sigma_min=0.02, sigma_max=20.0).levels(schedule, 1e-3, 120.0)
    assert (narrow[0].item(), narrow[-2].item()) == pytest.approx((20.0, 0.02))
    assert Sampling(8).levels(schedule, 1e-3, 120.0)[0].item() == pytest.approx(120.0)


def test_trailing_levels_step_to_0_as_far_as_between_each_other():
    schedule = cosine_schedule()
    found = [schedule.timestep(float(sigma)) for sigma in levels("trailing", schedule, 4, 1e-3, 120.0)[:-1]]
    last = schedule.timestep(120.0)
    assert found == pytest.approx([last, 0.75 * last, 0.5 * last, 0.25 * last], abs=0.5)


# Guidance in an interval.


def test_guidance_outside_its_interval_costs_no_second_row_and_changes_nothing():
    def network(x, t, clip):
        return 0.1 * x + clip[:, :, None]

    def make(**more) -> Denoiser:
        return Denoiser(network, cosine_schedule(), "v", {"clip": torch.ones(2, 6)}, clamp=False, **more)

    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    limited, always, never = make(guidance=3.0, guided_within=(0.5, 5.0)), make(guidance=3.0), make()
    assert torch.equal(limited(x, 1.0), always(x, 1.0)) and not torch.equal(limited(x, 1.0), never(x, 1.0))
    for sigma in (0.1, 50.0):
        assert torch.equal(limited(x, sigma), never(x, sigma))


def test_a_recipe_limits_guidance_and_its_work_is_counted_as_it_is():
    made = limit(set_steps(built(), CPU, steps=6), CPU, low_sigma=0.3, high_sigma=5.0)
    rows = asked_of(made, "base diffusion")
    counted = object_counts(made, PROMPT)["base diffusion"].total_flops
    assert set(rows) == {1, 2}
    whole = object_counts(set_steps(built(), CPU, steps=6), PROMPT)["base diffusion"].total_flops
    assert counted / whole == pytest.approx(sum(rows) / (2 * len(rows)), rel=0.02)
    with pytest.raises(ValueError, match="low_sigma 5 and high_sigma 5"):
        limit(made, CPU, low_sigma=5, high_sigma=5)
    with pytest.raises(ValueError, match=r"noise of point-e-nano-text is 0.001 to 120.0, so nothing would be guided"):
        limit(made, CPU, low_sigma=200, high_sigma=300)


def test_one_evaluation_is_one_row_in_every_stage():
    made = built()
    for technique in find_optimization("one-evaluation").techniques:
        made = resolve(technique.apply)(made, CPU, **technique.parameters)
    assert made.stage_evaluations == {"base diffusion": 1, "upsampler": 1}
    base, upsampler = asked_of(made, "base diffusion"), asked_of(made, "upsampler")
    made.generate([PROMPT])
    assert base == [1] and upsampler == [1]


def test_stages_behind_the_first_may_take_fewer_steps():
    made = set_steps(built(), CPU, steps=6, solver="dpmpp-2m", later={"steps": 2, "solver": "euler"})
    assert made.stage_evaluations == {"base diffusion": 6, "upsampler": 2}
    alone = set_steps(built("shap-e-nano-text"), CPU, steps=6, solver="euler", later={"steps": 2})
    assert alone.stage_evaluations == {"latent diffusion": 6}


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"step": 4}, UnknownName, "unknown sampling parameter 'step'; nearest: steps"),
        ({"sigma_max": -1.0}, ValueError, "sigma_max: -1.0 is not possible; above 0"),
        ({"sigma_min": 1.0, "spacing": "trailing"}, ValueError, "sigma_min: plays no part with the spacing trailing"),
        ({"stages": ("upsampler",), "later": {"steps": 2}}, ValueError, "later: not possible with stages"),
        ({"later": {"step": 2}}, UnknownName, "unknown sampling parameter 'step'; nearest: steps"),
    ],
)
def test_impossible_samplings_are_answered(parameters, error, words):
    with pytest.raises(error, match=re.escape(words)):
        set_steps(built(), CPU, **{"steps": 4} | parameters)


@pytest.mark.parametrize("given", [{"sigma_min": 50.0, "sigma_max": 1.0}, {"sigma_max": 1e6}, {"sigma_min": 1e-9}])
def test_noise_that_the_model_does_not_have_is_answered_with_what_it_has(given):
    with pytest.raises(ValueError, match=r"is not possible; within the model's 120.0 to 0.001"):
        set_steps(built(), CPU, steps=4, **given).generate([PROMPT])


@pytest.mark.parametrize("coarser", [0, 33, 1.5])
def test_a_grid_that_cannot_be_so_coarse_is_answered_with_what_can(coarser):
    with pytest.raises(ValueError, match=r"is not possible; a whole number from 1 to 32, of 64 points"):
        refine(built("shap-e-nano-text"), CPU, stride=3, margin=1.25, coarser=coarser)


def test_an_upsampler_that_starts_from_noise_takes_the_steps_of_the_base():
    made = build_40m_text("random", CPU)
    (steps,) = find_optimization("dpmpp-16").techniques
    made = set_steps(made, CPU, **steps.parameters)
    assert made.stage_evaluations == {"base diffusion": 16, "upsampler": 16}


# Students.


@pytest.mark.parametrize("evaluations", [8, 4, 2, 1])
def test_a_student_takes_so_many_evaluations_unguided_and_the_upsampler_few(evaluations):
    recipe = find_optimization(f"distilled-{evaluations}")
    made = built()
    teacher = made.weights_sha256
    for technique in recipe.techniques:
        made = resolve(technique.apply)(made, CPU, **technique.parameters)
    base, upsampler = asked_of(made, "base diffusion"), asked_of(made, "upsampler")
    cloud = made.generate([PROMPT])
    assert cloud.shape == (1, 1024, 6) and cloud.isfinite().all()
    assert base == [1] * evaluations and len(upsampler) == 1
    assert made.evaluations == len(base) + len(upsampler) and made.weights_sha256 != teacher


def test_evaluations_without_a_student_are_answered_with_those_that_have_one():
    with pytest.raises(UnsupportedRecipe, match="networks for 8, 4, 2, 1 evaluations, none for 5"):
        use_student(built(), CPU, evaluations=5)
    with pytest.raises(UnsupportedRecipe, match="shap-e-nano-image has no distilled networks; those of point-e-nano"):
        use_student(built("shap-e-nano-image"), CPU, evaluations=4)


@pytest.fixture
def students_recipe(no_emulated_bfloat16):
    return recipe_with_few_ways()


@cache
def recipe_with_few_ways():
    """One batch of the teacher's ways."""
    recipe = point_e_nano_text_distilled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.training.train_distilled.TEACHER_STEPS", 8)
        recipe.block = 0, recipe.walk(torch.Generator().manual_seed(0))
    return recipe


def test_a_students_steps_lead_where_the_teacher_arrived(students_recipe):
    """A network that knows the answer has no loss, whatever its number of steps, and one step of it arrives."""
    recipe = students_recipe
    places, condition = recipe.ways(0)
    assert places.shape == (9, 32, 6, 256) and condition.shape == (32, 128)
    assert places[0].std().item() == pytest.approx(1, abs=0.02)  # pure noise, but for a part in 14,000
    truth = {}

    def knows(network, x, t, condition):
        return truth["v"]

    for count in recipe.counts:
        asked = torch.Generator().manual_seed(1)
        way = torch.randint(places.shape[1], (32,), generator=asked)
        start = torch.randint(count, (32,), generator=asked) * (8 // count)
        x, arrived = places[start, way], places[start + 8 // count, way]
        phi, theta = (recipe.angles[k].view(-1, 1, 1) for k in (start, start + 8 // count))
        truth["v"] = (x * (phi - theta).cos() - arrived) / (phi - theta).sin()
        loss = recipe.loss_of(count, recipe.ways(0), torch.Generator().manual_seed(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipe.source, "velocity", knows)
            assert recipe.loss_of(count, recipe.ways(0), torch.Generator().manual_seed(1)) < 1e-9 < loss
        # By the sampler's own arithmetic.
        for row in range(4):
            sigma, following = recipe.sigmas[start[row]].item(), recipe.sigmas[start[row] + 8 // count].item()
            kept = 1 / math.sqrt(1 + sigma**2)
            x0 = kept * x[row] - kept * sigma * truth["v"][row]
            made = x0 + (x[row] / kept - x0) * following / sigma
            assert torch.allclose(made / math.sqrt(1 + following**2), arrived[row], atol=1e-4)


@pytest.mark.slow
def test_the_teachers_ways_are_the_same_when_a_block_is_begun_again(students_recipe, monkeypatch):
    monkeypatch.setattr("suite.training.train_distilled.BLOCK_WAYS", 32)
    monkeypatch.setattr("suite.training.train_distilled.TEACHER_STEPS", 8)  # 32 ways of 16 take 50 s without bfloat16
    recipe, few = students_recipe, students_recipe.block
    first = recipe.ways(3).places
    recipe.block = None
    assert torch.equal(recipe.ways(3).places, first) and not torch.equal(recipe.ways(4).places, first)
    recipe.block = few


# Pictures.


def test_pictures_in_fewer_steps():
    made = set_picture_steps(set_steps(built("shap-e-nano-image"), CPU, steps=2), CPU, steps=3)
    calls = asked_of(made, "text-to-image")
    made.generate([PROMPT])
    assert len(calls) == 3
    with pytest.raises(UnsupportedRecipe, match="point-e-nano-text has no text-to-image stage"):
        set_picture_steps(built(), CPU, steps=3)
    with pytest.raises(ValueError, match="steps: 0 is not possible"):
        set_picture_steps(made, CPU, steps=0)


# No upsampler.


def test_copied_points_are_the_references_base_and_scattered_copies_of_it():
    made = build(find("point-e-nano-text/steps-4+copied-points@cpu"), "embedded", CPU)
    reference = set_steps(built(), CPU, steps=4).generate([PROMPT])[0]
    cloud = made.generate([PROMPT])[0]
    assert cloud.shape == reference.shape
    base, new = cloud.split((256, 768))
    assert torch.equal(base, reference[:256])
    inside = base[:, :3].abs().amax(1) < 0.9  # clear of where coordinates are clamped
    scattered = (new.unflatten(0, (3, 256)) - base)[:, inside, :3]
    assert scattered.std().item() == pytest.approx(0.05 / POSITION_SCALE, rel=0.1)
    assert made.stage_evaluations == {"base diffusion": 7} and set(made.networks) == {"text encoder", "base diffusion"}
    torch.testing.assert_close(made.generate(["two yellow cones", PROMPT])[1], cloud, atol=1e-4, rtol=0)


def test_copied_points_where_there_is_no_upsampler_or_another_kind():
    with pytest.raises(UnsupportedRecipe, match="point-e-nano-image has no upsampler to do without"):
        copy_points(built("point-e-nano-image"), CPU, scatter=0.05)
    with pytest.raises(UnsupportedRecipe, match="point-e-40m-text's upsampler starts from noise"):
        copy_points(build_40m_text("random", CPU), CPU, scatter=0.05)
    with pytest.raises(ValueError, match="scatter: -1 is not possible"):
        copy_points(built(), CPU, scatter=-1)
    with pytest.raises(ImpossibleComposition, match=r"write copied-points\+int8-fbgemm-upsampler"):
        find_optimization("int8-fbgemm-upsampler+copied-points")
    with pytest.raises(UnsupportedRecipe, match="has no diffusion stage 'upsampler'; it has base diffusion"):
        build(find("point-e-nano-text/copied-points+int8-fbgemm-upsampler@cpu"), "embedded", CPU)


# Compositions.


@pytest.mark.parametrize(
    "name, message",
    [
        ("distilled-4+steps-16", "both set the steps"),
        ("distilled-4+guidance-interval", "both set the guidance"),
        ("bf16+distilled-4", r"write distilled-4\+bf16"),
    ],
)
def test_recipes_that_are_in_each_others_way(name, message):
    with pytest.raises(ImpossibleComposition, match=message):
        find_optimization(name)
    assert find_optimization("distilled-4+sparse-decode").techniques


def test_the_originals_sampler_takes_a_number_of_steps_alone():
    class Theirs(Sampled):
        own_sampler, diffusion, apart = True, ("base diffusion", "upsampler"), {}

    made = set_steps(Theirs(), CPU, steps=16)
    assert made.steps == 16
    for more in ({"solver": "unipc"}, {"stages": ("upsampler",)}, {"sigma_max": 20.0}):
        with pytest.raises(UnsupportedRecipe, match="own sampler"):
            set_steps(made, CPU, steps=16, **more)
