"""The network from clouds to distance fields, and the coloured meshes made of these."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from suite.models.checkpoints.networks import fill_with_noise
from suite.models.point_e import sdf as sdf_network
from suite.models.point_e.sdf import SIDE, SdfNetwork, SdfSettings, field_of_cloud, mesh_of_cloud

TINY = SdfSettings(width=16, encoder_layers=2, decoder_layers=2, heads=4)


def tiny() -> SdfNetwork:
    network = SdfNetwork(TINY).eval().requires_grad_(False)
    fill_with_noise(network, seed=1)
    return network


def cloud(points: int = 40, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.cat(
        [2 * torch.rand(points, 3, generator=generator) - 1, torch.rand(points, 3, generator=generator)], 1
    )


def test_parameters_and_keys_are_the_officials():
    with torch.device("meta"):
        network = SdfNetwork()
    keys = network.state_dict().keys()
    assert (sum(p.numel() for p in network.parameters()), len(keys)) == (9_481_985, 168)
    block = ("attn.c_q", "attn.c_kv", "attn.c_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj", "ln_3")
    assert {f"decoder.resblocks.3.{name}.{end}" for name in block for end in ("weight", "bias")} < keys
    assert "encoder.resblocks.7.attn.c_qkv.weight" in keys and "encoder_input_proj.bias" in keys


@torch.inference_mode()
def test_each_position_is_asked_alone_and_the_clouds_order_does_not_matter():
    network, points = tiny(), cloud()[:, :3].T[None]
    positions = torch.rand(1, 3, 11, generator=torch.Generator().manual_seed(3)) - 0.5
    context = network.context(points)
    together = network(positions, context)
    alone = torch.cat([network(positions[..., k : k + 1], context) for k in range(11)], -1)
    shuffled = network(positions, network.context(points[..., torch.randperm(40)]))
    assert together.shape == (1, 11) and together.std() > 0.01
    assert torch.allclose(together, alone, atol=1e-5) and torch.allclose(together, shuffled, atol=1e-4)
    other = network(positions, network.context(cloud(seed=9)[:, :3].T[None]))
    assert (together - other).abs().max() > 0.01


@torch.inference_mode()
def test_the_grids_axes_are_x_y_z_over_the_published_cube(monkeypatch):
    """Whatever the batches of positions."""
    monkeypatch.setattr(sdf_network, "QUERY_POSITIONS", 7)
    network, points = tiny(), cloud()
    field = field_of_cloud(network, points, grid=5)
    context = network.context(points[:, :3].T[None] / 2)  # physical units are half of the cloud's
    axis = [-SIDE / 2 + SIDE / 4 * k for k in range(5)]
    for x, y, z in ((0, 0, 0), (4, 1, 2), (1, 4, 3)):
        asked = torch.tensor([axis[x], axis[y], axis[z]])[None, :, None]
        assert field[x, y, z].item() == pytest.approx(network(asked, context).item(), abs=1e-5)


def _field(monkeypatch, values) -> None:
    monkeypatch.setattr(sdf_network, "field_of_cloud", lambda network, cloud, grid: values(grid))


def ball(grid: int) -> Tensor:
    axis = torch.linspace(-SIDE / 2, SIDE / 2, grid)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return 0.25 - ((x - 0.1) ** 2 + y**2 + z**2).sqrt()  # positive inside


def test_mesh_is_in_the_clouds_units_and_each_vertex_has_the_nearest_points_colour(monkeypatch):
    _field(monkeypatch, ball)
    left, right = [-0.3, 0, 0, 1, 0, 0], [0.7, 0, 0, 0, 0, 1]  # red and blue
    mesh = mesh_of_cloud(None, torch.tensor([left, right]), grid=32)
    centre = torch.tensor([0.2, 0.0, 0.0])
    assert torch.allclose((mesh.vertices - centre).norm(dim=-1), torch.tensor(0.5), atol=0.01)
    blue = mesh.vertices[:, 0] > 0.2
    assert torch.equal(mesh.colours[blue], torch.tensor([0.0, 0, 1]).expand(int(blue.sum()), 3))
    assert torch.equal(mesh.colours[~blue], torch.tensor([1.0, 0, 0]).expand(int((~blue).sum()), 3))
    corners = mesh.vertices[mesh.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((corners.mean(1) - centre) * normals).sum(-1).gt(0).float().mean() > 0.99  # faces look outwards


def test_field_of_one_sign_gives_an_empty_mesh(monkeypatch):
    _field(monkeypatch, lambda grid: -torch.ones(grid, grid, grid))
    mesh = mesh_of_cloud(None, cloud(), grid=8)
    assert mesh.empty and mesh.vertices.shape == (0, 3) and mesh.colours.shape == (0, 3)
