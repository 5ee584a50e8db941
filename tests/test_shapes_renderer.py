"""Scenes as clouds, and clouds as pictures."""

from __future__ import annotations

import math

import pytest
import torch

from suite.scenes.captions import COLOURS, COUNTS, RELATIONS, SHAPES, SIZES, Scene, Thing, all_scenes
from suite.scenes.renderer import BACKGROUND, judge_views, render, splat_radius_px
from suite.scenes.shapes import EXTENTS, GAP, RADII, SceneTable, layout, surface_pools


def thing(words: str) -> Thing:
    *size, colour, shape = words.split()
    return Thing(SIZES.index(size[0] if size else "medium"), COLOURS.index(colour), SHAPES.index(shape))


def pair(first: str, relation: str, second: str) -> Scene:
    return Scene(thing(first), relation=RELATIONS.index(relation), other=thing(second))


def cloud_of(scene: Scene, points: int = 4096, jitter: float = 0.0, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    cloud, normals = SceneTable([scene]).clouds(torch.zeros(1, dtype=torch.long), points, generator, jitter)
    return cloud[0], normals[0]


def of_colour(cloud: torch.Tensor, colour: str) -> torch.Tensor:
    """The points nearest to a colour rather than to another."""
    rgb = SceneTable([Scene(thing("red cube"))]).rgb
    return cloud[torch.cdist(cloud[:, 3:], rgb).argmin(1) == COLOURS.index(colour), :3]


def a_sample_of_scenes() -> list[Scene]:
    return list(all_scenes()[:576:7]) + list(all_scenes()[576::701])


# Clouds.


def test_clouds_lie_within_the_unit_cube_and_colours_are_fractions():
    table = SceneTable(a_sample_of_scenes())
    cloud, _ = table.clouds(torch.arange(len(table.shape)), 256, torch.Generator().manual_seed(1))
    assert cloud.shape == (len(table.shape), 256, 6)
    assert cloud[..., :3].abs().max() <= 1
    assert 0 <= cloud[..., 3:].min() and cloud[..., 3:].max() <= 1


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_largest_scenes_fit_into_the_cube_without_being_flattened_by_its_walls(relation):
    cloud, _ = cloud_of(pair("large red ball", relation, "large blue ball"), 8192, jitter=0.0)
    assert cloud[:, :3].abs().max() < 1
    flattened = [
        (cloud_of(pair("large red cube", relation, "large blue cube"), 1024, 1.0, seed)[0][:, :3].abs() == 1).any(1)
        for seed in range(16)
    ]
    assert torch.cat(flattened).float().mean() < 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_thing_beside_a_large_one_keeps_a_quarter_of_the_points(shape):
    for seed in range(4):
        cloud, _ = cloud_of(pair(f"small red {shape}", "on", "large blue ball"), 256, 1.0, seed)
        assert len(of_colour(cloud, "red")) >= 256 * 0.22


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_the_extents_that_the_layout_counts_on(shape):
    points = surface_pools()[0][SHAPES.index(shape)]
    reach, half_height = EXTENTS[shape]
    assert points[:, 2].max() == pytest.approx(half_height, abs=0.02)  # few points fall on a cone's tip
    assert points[:, 2].min() == pytest.approx(-half_height, abs=0.01)
    assert points[:, :2].abs().max() <= reach + 1e-5
    assert points[:, 0].abs().max() >= reach * 0.84  # a cube's is its corner's reach, nearly


def test_an_object_on_another_touches_it():
    for first, second in (
        ("red cube", "large blue disc"),
        ("small red cone", "blue cylinder"),
        ("red arch", "blue cube"),
    ):
        cloud, _ = cloud_of(pair(first, "on", second), 16_384)
        above, below = of_colour(cloud, "red"), of_colour(cloud, "blue")
        assert above[:, 2].min() - below[:, 2].max() == pytest.approx(0, abs=0.01)
        assert above[:, :2].mean(0) - below[:, :2].mean(0) == pytest.approx(torch.zeros(2), abs=0.02)


def test_an_object_floating_above_another_leaves_the_gap():
    cloud, _ = cloud_of(pair("red cube", "floating above", "blue ball"), 16_384)
    gap = of_colour(cloud, "red")[:, 2].min() - of_colour(cloud, "blue")[:, 2].max()
    assert gap == pytest.approx(GAP, abs=0.01)


def test_objects_next_to_each_other_nearly_touch_and_far_ones_leave_the_gap_on_one_ground():
    between = {}
    for relation in ("next to", "far from"):
        cloud, _ = cloud_of(pair("red ball", relation, "small blue cylinder"), 16_384)
        left, right = of_colour(cloud, "red"), of_colour(cloud, "blue")
        between[relation] = (right[:, 0].min() - left[:, 0].max()).item()
        assert left[:, 2].min() == pytest.approx(right[:, 2].min().item(), abs=0.01)
    assert 0 <= between["next to"] < 0.06
    assert between["far from"] == pytest.approx(GAP, abs=0.03)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_things_stand_apart(shape, count):
    _, _, radii, centres = layout(Scene(thing(f"large red {shape}"), count=count))
    assert sum(radius > 0 for radius in radii) == count + 1 == COUNTS.index(("a", "two", "three")[count]) + 1
    reach = EXTENTS[shape][0] * RADII[2]
    for a in range(count + 1):
        for b in range(a):
            assert math.dist(centres[a], centres[b]) >= 2 * reach
    assert all(math.hypot(*centre[:2]) + reach <= 1 for centre in centres[: count + 1])


def test_an_absent_thing_gets_no_point():
    cloud, _ = cloud_of(Scene(thing("small red ball")), 4096)
    assert cloud[:, :3].norm(dim=1) == pytest.approx(torch.full((4096,), RADII[0]), abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_are_unit_and_point_outward(shape):
    points, normals = (pool[SHAPES.index(shape)] for pool in surface_pools())
    assert normals.norm(dim=1) == pytest.approx(torch.ones(len(normals)), abs=1e-4)
    ahead, behind = points + 0.004 * normals, points - 0.004 * normals  # at a cone's tip more would come out behind
    # Not of a cone's rim and tip, nor of the ends of an arch.
    assert inside(shape, behind).float().mean() > 0.997
    assert inside(shape, ahead).float().mean() < 0.003


def inside(shape: str, p: torch.Tensor) -> torch.Tensor:
    """Whether points lie in a shape's body, written down here once more from its name and extents."""
    x, y, z = p.unbind(1)
    r = p[:, :2].norm(dim=1)
    if shape == "ball":
        return p.norm(dim=1) < 1
    if shape == "cube":
        return (p.abs() < 0.85).all(1)
    if shape == "cone":
        return (z.abs() < 1) & (r < 0.9 * (1 - z) / 2)
    if shape == "cylinder":
        return (z.abs() < 1) & (r < 0.5)
    if shape == "disc":
        return (z.abs() < 0.12) & (r < 1)
    if shape == "ring":
        return torch.hypot(r - 0.75, z) < 0.25
    if shape == "arch":  # half a torus that stands upright in the x–z plane, its feet on the ground
        up = z + 0.475
        return (torch.hypot(torch.hypot(x, up) - 0.7, y) < 0.25) & (up > -0.01)
    arms = [(p.abs() < torch.tensor(arm)).all(1) for arm in ((1, 0.22, 0.22), (0.22, 1, 0.22), (0.22, 0.22, 1))]
    return arms[0] | arms[1] | arms[2]


def test_a_cloud_depends_on_its_generator_and_not_on_the_other_rows():
    table = SceneTable(a_sample_of_scenes()[:5])

    def draw(rows: list[int], seed: int) -> torch.Tensor:
        return table.clouds(torch.tensor(rows), 64, torch.Generator().manual_seed(seed), jitter=1.0)[0]

    assert torch.equal(draw([3], 5), draw([3], 5))
    assert not torch.equal(draw([3], 5), draw([3], 6))


# Pictures.


def dots(*points: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([points], dtype=torch.float32)


def coloured(picture: torch.Tensor) -> torch.Tensor:
    """Rows and columns of the pixels that are not background."""
    return (picture < BACKGROUND).any(0).nonzero().float()


def seen(cloud: torch.Tensor, azimuth_deg: float, elevation_deg: float) -> torch.Tensor:
    """One picture of a few points, each drawn small."""
    return render(cloud, torch.tensor([[azimuth_deg]]), torch.tensor([[elevation_deg]]), radius_px=2.0)[0, 0]


def front(cloud: torch.Tensor) -> torch.Tensor:
    return seen(cloud, 0.0, 0.0)


def test_what_is_empty_is_white():
    picture = front(dots((0, 0, 0, 1, 0, 0)))
    assert picture.shape == (3, 64, 64)
    rows, columns = coloured(picture).unbind(1)
    assert BACKGROUND == 1 and 0 < len(rows) < 64  # one dot, in the middle
    assert rows.min() > 24 and rows.max() < 39 and columns.min() > 24 and columns.max() < 39


def test_a_point_at_plus_z_is_in_the_upper_half_and_one_at_plus_x_to_the_right_from_the_front():
    above = coloured(front(dots((0, 0, 0.8, 0, 0, 0)))).mean(0)
    right = coloured(front(dots((0.8, 0, 0, 0, 0, 0)))).mean(0)
    assert above[0] < 20 and above[1] == pytest.approx(31.5, abs=1)
    assert right[1] > 44 and right[0] == pytest.approx(31.5, abs=1)


def test_the_camera_turns_to_the_right_side_at_90_degrees_and_looks_down_when_raised():
    from_the_right = seen(dots((0, 0.8, 0, 0, 0, 0)), 90.0, 0.0)
    assert coloured(from_the_right).mean(0)[1] > 44  # what lies behind the front is on the right side's right
    from_above = seen(dots((0, 0.8, 0, 0, 0, 0)), 0.0, 60.0)
    assert coloured(from_above).mean(0)[0] < 24  # the far end of the ground is up


def test_the_nearest_point_wins_from_either_side():
    both = dots((0, -0.5, 0, 0.9, 0.1, 0.1), (0, 0.5, 0, 0.1, 0.1, 0.9))
    assert front(both)[:, 31:33, 31:33].mean((1, 2)).argmax() == 0  # the front camera stands at -y
    behind = seen(both, 180.0, 0.0)
    assert behind[:, 31:33, 31:33].mean((1, 2)).argmax() == 2
    swapped = both[:, [1, 0]]
    assert torch.equal(front(swapped), front(both))  # their order does not matter


def test_a_nearer_point_looks_larger_off_the_axis():
    def column(y: float) -> float:
        return coloured(front(dots((0.6, y, 0, 0, 0, 0)))).mean(0)[1].item()

    assert column(-0.5) > column(0.5) + 2  # perspective


def test_a_batch_gives_the_pictures_that_its_clouds_give_alone():
    table = SceneTable(a_sample_of_scenes()[::60])
    cloud, normals = table.clouds(torch.arange(len(table.shape)), 256, torch.Generator().manual_seed(2))
    for kwargs in ({}, {"normals": normals}):
        together = judge_views(cloud, **kwargs)
        for k in (0, len(cloud) - 1):
            alone = judge_views(cloud[k : k + 1], **{name: value[k : k + 1] for name, value in kwargs.items()})
            assert torch.equal(together[k], alone[0])


def test_a_solid_ball_looks_solid():
    cloud, normals = cloud_of(Scene(thing("large red ball")), 4096)
    picture = judge_views(cloud[None], normals=normals[None])[0, 0]
    filled = coloured(picture)
    centre, radius = filled.mean(0), (filled[:, 1].max() - filled[:, 1].min() + 1) / 2
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"), -1)
    disc = (grid - centre).norm(dim=-1) < radius - 1.5
    holes = (picture == BACKGROUND).all(0) & disc
    assert holes.sum() <= 0.005 * disc.sum()
    lit = picture[0][disc]
    assert lit.std() > 0.02  # shaded, not flat


def test_a_splat_cloud_of_256_points_closes_most_of_its_surface():
    cloud, _ = cloud_of(Scene(thing("large red ball")), 256)
    picture = judge_views(cloud[None])[0, 0]
    filled = coloured(picture)
    radius = (filled[:, 1].max() - filled[:, 1].min() + 1) / 2
    assert len(filled) >= 0.9 * math.pi * radius**2


def test_a_splat_grows_with_the_picture_and_shrinks_with_the_number_of_points():
    assert splat_radius_px(256, 128) == 2 * splat_radius_px(256, 64)
    assert splat_radius_px(4096, 64) < splat_radius_px(256, 64)


def test_points_outside_the_picture_are_left_out():
    assert len(coloured(front(dots((50.0, 0, 0, 0, 0, 0))))) == 0


def test_a_point_behind_the_camera_is_not_seen():
    """A network that diverges puts points anywhere; none may hide the object from behind the camera's back."""
    alone, crowd = dots((0, 0, 0, 1, 0, 0)), dots((0, 0, 0, 1, 0, 0), (0, -8, 0, 0, 0, 1), (0, -4, 0, 0, 0, 1))
    assert torch.equal(front(crowd), front(alone))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_point_without_a_place_is_left_out(broken):
    whole = dots((0, 0, 0, 1, 0, 0), (0.5, 0, 0, 1, 0, 0))
    hurt = dots((0, 0, 0, 1, 0, 0), (broken, broken, broken, 1, 0, 0))
    picture = front(hurt)
    assert torch.isfinite(picture).all()
    assert torch.equal(picture, front(whole[:, :1]))
