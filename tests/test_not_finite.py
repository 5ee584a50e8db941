"""NaN and infinity: nothing that holds them leaves as an object, counts as a hit or is timed as if it were one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from suite import building, generate
from suite.metrics.pictures import single_views, write_ply
from suite.metrics.quality import Judge
from suite.metrics.scoring import measure_quality
from suite.metrics.seen import seen, why_not_finite
from suite.models.finite import NotFinite
from suite.models.mesh import Mesh, write_mesh
from suite.models.point_e import sdf
from suite.models.point_e.pipeline import to_cloud
from suite.records import Status
from suite.worker import execution
from suite.worker.job import Job
from tests import bad_models
from tests.test_extensions import Splats
from tests.test_glb import box
from tests.test_shap_e import NANO_LATENT, ball

NAN, INFINITY = float("nan"), float("inf")


def cloud(broken: int = 200, value: float = NAN, column: int = 0) -> torch.Tensor:
    made = torch.rand(256, 6, generator=torch.Generator().manual_seed(0))
    made[:broken, column] = value
    return made


def broken_box(what: str, value: float = NAN) -> Mesh:
    mesh = box()
    getattr(mesh, what)[:3, 1] = value
    return mesh


class BrokenSplats(Splats):
    """A form of somebody else's, which says nothing of its numbers."""

    def as_points(self, count, generator):
        points, normals = super().as_points(count, generator)
        points[:5, 2] = NAN
        return points, normals


OBJECTS = {
    "a place in a cloud": (cloud, "200 of 256 points"),
    "a colour in a cloud": (lambda: cloud(7, INFINITY, 5), "7 of 256 points"),
    "a whole half cloud": (lambda: cloud(256).half(), "256 of 256 points"),
    "doubles that no file holds": (lambda: cloud(9, 1e30).double() ** 2, "9 of 256 points"),
    "a place in a mesh": (lambda: broken_box("vertices"), r"3 of [\d,]+ vertices"),
    "a colour in a mesh": (lambda: broken_box("colours", -INFINITY), r"3 of [\d,]+ vertices"),
    "a mesh's field": (lambda: Mesh.nothing("not finite: 1 of 8 values of its field"), "1 of 8 values of its field"),
    "another form": (BrokenSplats, "5 of 4,096 points"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_nothing_is_written_of_such_an_object(name, tmp_path, monkeypatch, capsys):
    make, words = OBJECTS[name]
    asked = ["a red cube", "--configuration", "point-e-nano-text/fp32@cpu", "--output", str(tmp_path / "out")]
    made = SimpleNamespace(generate=lambda prompts, sample: [make()])
    monkeypatch.setattr(building, "build", lambda *given: made)
    assert generate.main(asked) == 2
    assert re.search(f"'a red cube': not finite: {words}", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_the_writers_themselves_refuse(tmp_path):
    with pytest.raises(NotFinite, match="200 of 256 points"):
        write_ply(tmp_path / "made.ply", cloud())
    for ending in ("ply", "glb"):
        with pytest.raises(NotFinite, match="vertices"):
            write_mesh(tmp_path / f"made.{ending}", broken_box("colours"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("squashed", [False, True])
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_field_is_told_from_one_without_a_surface(value, squashed):
    made = ball()
    made.squashed = squashed  # tanh would make 1 of infinity
    whole, latent = made.query_field, torch.zeros(1, NANO_LATENT.tokens, NANO_LATENT.width)

    def broken(*asked):
        values = whole(*asked).clone()
        values[..., :2] = value
        return values

    made.query_field = broken
    mesh = made.mesh(latent)
    assert mesh.empty and re.fullmatch(r"not finite: 2 of [\d,]+ values of its field", mesh.not_finite)
    assert ball(radius=-1.0).mesh(latent).not_finite is None


def test_so_is_the_field_of_a_cloud(monkeypatch):
    field = torch.ones(8, 8, 8)
    field[0, 0, :3] = NAN
    monkeypatch.setattr(sdf, "field_of_cloud", lambda *asked: field)
    assert sdf.mesh_of_cloud(None, cloud(0), grid=8).not_finite == "not finite: 3 of 512 values of its field"


def test_infinity_does_not_become_the_edge_of_a_cloud():
    channels = torch.zeros(1, 6, 256)
    channels[0, 1, :3], channels[0, 5, :4], channels[0, 0, 9] = INFINITY, -INFINITY, 7.0
    (made,) = to_cloud(channels)
    assert why_not_finite(made) == "not finite: 4 of 256 points" and made[9, 0] == 1


# What is scored.


@pytest.mark.parametrize("name", OBJECTS)
def test_such_an_object_is_a_miss_and_a_blank_picture(name):
    one = OBJECTS[name][0]()
    objects = one[None] if isinstance(one, torch.Tensor) else [one]
    (outcome,) = Judge().score(objects, ["a large red ball"])
    assert (outcome.rank_153, outcome.rank_3001, outcome.margin_153, outcome.chamfer) == (152, 3000, -2.0, None)
    assert not seen(objects).made.any() and seen(objects).clouds.isfinite().all()
    sheet = np.asarray(single_views(objects)[0])
    assert (sheet == sheet[0, 0]).all()


def test_an_object_that_the_judge_has_no_opinion_of_is_a_miss():
    judge = Judge()
    judge._recognizer.views = lambda views: torch.full((len(views), 128), NAN)
    (outcome,) = judge.score(cloud(0)[None], ["a large red ball"])
    assert (outcome.rank_153, outcome.rank_3001) == (152, 3000)


def test_the_quality_says_how_many_and_which():
    def generate_some(prompts, sample=0):
        return torch.stack([cloud(0 if "red" in prompt else 200) for prompt in prompts])

    quality, _ = measure_quality(SimpleNamespace(generate=generate_some), Judge(), 10, batch_size=4)
    broken = [o.prompt for o in quality.outcomes if "red" not in o.prompt]
    assert 0 < len(broken) < 10
    assert quality.warnings == [
        f"{len(broken)} of 10 objects hold NaN or infinity and count as misses "
        f"(first: {broken[0]!r} is not finite: 200 of 256 points)"
    ]
    assert all(o.rank_153 == 152 for o in quality.outcomes if o.prompt in broken)
    whole = measure_quality(SimpleNamespace(generate=lambda p, sample=0: cloud(0)[None]), Judge(), 1)[0]
    assert whole.warnings == []


# What is timed.


def measured(builder: str, weights: str = "embedded", **asked):
    job = Job(bad_models.configuration(builder), weights, quality_prompts=asked.pop("prompts", 3), **asked)
    return execution.measure(job, session="s", board="b")


def test_a_first_object_that_is_none_ends_the_cell_with_its_count():
    made = measured("not_finite", time_budget_s=0.1)
    assert made.status == Status.CRASHED and made.latency is None and made.quality is None
    assert "NotFinite" in made.reason and "not finite: 5 of 8 points" in made.reason
    assert made.memory is not None  # what was measured before


def test_random_weights_promise_no_object_so_their_latency_says_it():
    made = measured("not_finite", "random", prompts=0, time_budget_s=0.1)
    assert made.status == Status.OK
    assert "its object is not finite: 5 of 8 points" in made.latency.warnings


def test_other_decodings_that_are_not_finite_are_told():
    made = measured("not_finite_views", prompts=0, time_budget_s=0.1)
    assert made.status == Status.OK and len(made.extra_stage_samples_s["views"]) == 3
    assert "views: not finite: 2 of 4 pictures" in made.latency.warnings
