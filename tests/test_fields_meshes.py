"""Scenes as fields, fields as meshes and views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.metrics.seen import POINTS, seen
from suite.models.mesh import Mesh, marching_cubes, surface_points, write_mesh
from suite.models.shap_e.views import SAMPLES, Evenly, render_views
from suite.scenes.captions import SHAPES, all_scenes
from suite.scenes.renderer import ELEVATION_DEG, judge_views, render
from suite.scenes.shapes import SceneTable
from suite.training.fields import field


def posed(count: int = 64, points: int = 256):
    scenes = all_scenes()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(scenes), (count,), generator=generator)
    return SceneTable(scenes).posed_clouds(rows, points, generator)


def lone(shape: str):
    scenes = [s for s in all_scenes() if s.other is None and s.count == 0 and SHAPES[s.thing.shape] == shape]
    return SceneTable(scenes).posed_clouds(torch.arange(len(scenes)), 512, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shapes_surface_is_at_distance_zero_and_its_outside_is_positive(shape):
    cloud, normals, pose = lone(shape)
    on = field(pose, cloud[..., :3])[0]
    outside = field(pose, cloud[..., :3] + 0.02 * normals)[0]
    inside = field(pose, cloud[..., :3] - 0.004 * normals)[0]
    assert on.abs().max() < 1e-5
    assert (outside > 0).float().mean() > 0.97  # a cross' arms can end inside another arm
    assert (inside < 0).float().mean() > 0.95  # edges and the cone's tip are thinner


def test_the_fields_colour_is_the_things():
    cloud, _, pose = posed()
    rgb = field(pose, cloud[..., :3])[1]
    assert (rgb - cloud[..., 3:]).abs().median() < 0.03


def ball(size: int, radius: float = 0.6):
    axis = torch.linspace(-1, 1, size)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return radius - (x**2 + y**2 + z**2).sqrt()


@pytest.mark.parametrize("size", [17, 32, 64])
def test_a_mesh_has_the_size_of_its_field_at_every_grid(size):
    """The published decoders shrink it by (G - 1) / (G + 1): 6 % at 32."""
    vertices, faces = marching_cubes(ball(size))
    assert vertices.norm(dim=-1).mean() == pytest.approx(0.6, abs=0.004)
    corners = vertices[faces]
    outward = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outward * corners.mean(1)).sum(-1) > 0).float().mean() > 0.99


def test_a_thing_that_reaches_the_box_is_closed_there():
    vertices, faces = marching_cubes(ball(16, radius=5.0))
    assert len(faces) > 0 and vertices.abs().max() <= 1.0


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_field_without_a_surface_gives_an_empty_mesh_that_counts_as_not_made(value):
    vertices, faces = marching_cubes(torch.full((8, 8, 8), value))
    mesh = Mesh(vertices, faces, vertices)
    assert mesh.empty and not seen([mesh]).made.any()


def red_ball() -> Mesh:
    vertices, faces = marching_cubes(ball(32))
    return Mesh(vertices, faces, torch.tensor([0.8, 0.1, 0.1]).expand(len(vertices), 3))


def test_points_drawn_from_a_mesh_lie_on_it_evenly_with_its_colour():
    cloud, normals = surface_points(red_ball(), 8192, torch.Generator().manual_seed(0))
    assert cloud[:, :3].norm(dim=-1).sub(0.6).abs().max() < 0.02
    assert (normals * cloud[:, :3] / 0.6).sum(-1).mean() > 0.99
    assert torch.allclose(cloud[:, 3:], torch.tensor([0.8, 0.1, 0.1]).expand(8192, 3), atol=1e-5)
    share = (cloud[:, 2] > 0.3).float().mean().item()  # a cap's area is its height's share
    assert share == pytest.approx(0.25, abs=0.02)


def test_a_mesh_is_shown_the_same_each_time():
    a, b = seen([red_ball()]), seen([red_ball()])
    assert torch.equal(a.clouds, b.clouds) and a.clouds.shape == (1, POINTS, 6)


def test_a_written_ply_reads_back_as_it_was_made(tmp_path):
    import trimesh

    mesh = red_ball()
    write_mesh(tmp_path / "ball.ply", mesh)
    read = trimesh.load(tmp_path / "ball.ply", force="mesh", process=False)
    assert np.allclose(read.vertices, mesh.vertices.numpy(), atol=1e-6)
    assert len(read.faces) == len(mesh.faces)
    assert np.abs(read.visual.vertex_colors[:, :3] / 255 - [0.8, 0.1, 0.1]).max() < 0.01


def test_views_of_a_dense_ball_look_like_the_judges_views_of_its_surface():
    def dense(positions):
        inside = 0.6 - positions.norm(dim=-1)
        return (inside > 0) * 1e4, torch.tensor([0.8, 0.1, 0.1]).expand(len(positions), 3)

    azimuth = torch.tensor([20.0, 110.0])
    views = render_views(dense, azimuth, 64, Evenly(SAMPLES))
    shown = seen([red_ball()])
    judged = judge_views(shown.clouds, normals=shown.normals)[0, :2]
    covered, splat = (views[:, 1] < 0.5), (judged[:, 1] < 0.5)
    assert not (covered & ~splat).any()  # a splat's discs reach a pixel over the edge, all around
    assert covered.float().mean().sqrt() == pytest.approx(splat.float().mean().sqrt().item(), abs=3 / 64)
    assert views[0][:, 32, 32].tolist() == pytest.approx([0.8, 0.1, 0.1], abs=1e-3)


def middle(mask: torch.Tensor) -> torch.Tensor:
    return mask.nonzero().float().mean(0)


@pytest.mark.parametrize("azimuth", [20.0, 200.0])
def test_views_show_a_thing_where_the_judge_sees_it(azimuth):
    """Left is left and up is up: a thing off the middle lies at the same place in both pictures."""
    centre = torch.tensor([0.5, 0.1, 0.4])

    def dense(positions):
        return ((positions - centre).norm(dim=-1) < 0.2) * 1e4, torch.zeros(len(positions), 3)

    direction = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    cloud = torch.cat([centre + 0.2 * direction, torch.zeros(2000, 3)], 1)
    view = render_views(dense, torch.tensor([azimuth]), 64, Evenly(SAMPLES))[0, 0] < 0.5
    splat = render(cloud[None], torch.tensor([[azimuth]]), torch.tensor([[ELEVATION_DEG]]))[0, 0, 0] < 0.9
    assert (middle(view) - middle(splat)).abs().max() < 0.5
