"""Parity with OpenAI's Point-E: the same weights through the official layout, the same inputs, the same noise.

Where `point_e` is importable (docs/parity.md says how), its own networks and sampler are run beside ours. Elsewhere
ours are held to figures recorded from one such run. `--junitxml` keeps the errors.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os

import pytest
import torch
from torch import Tensor

from suite.models.checkpoints.networks import fill_with_noise
from suite.models.point_e.network import PUBLISHED, PointDiffusionTransformer, to_network_units, to_physical_units
from suite.models.point_e.sdf import SdfNetwork, SdfSettings
from suite.models.sampling.denoiser import Denoiser, cosine_schedule, heun, karras_sigmas, linear_schedule

WITHOUT_IT = "the original is not installed: docs/parity.md says how"
original = pytest.mark.skipif(importlib.util.find_spec("point_e") is None, reason=WITHOUT_IT)

# Whole where a test run has the time and memory for it; the large ones with two of their 24 layers, unless asked for.
LAYERS = {} if os.environ.get("TEXT3D_PARITY_SIZE") == "published" else {"base300M": 2, "base1B": 2}
NARROW = {"width": 64, "layers": 3, "heads": 4}


def settings_of(name: str, layers: int | None = None):
    return dataclasses.replace(PUBLISHED[name], layers=layers or LAYERS.get(name, PUBLISHED[name].layers))


def inputs(name: str, points: int, low: int = 1024, batch: int = 2) -> dict[str, Tensor]:
    """A batch whose second row has no condition, as in guidance."""
    generator = torch.Generator().manual_seed(5)
    given = {"x": torch.randn(batch, 6, points, generator=generator), "t": torch.tensor([17, 801])}
    kind = PUBLISHED[name].conditioning
    if kind == "vector":
        given["clip"] = torch.nn.functional.normalize(torch.randn(batch, 768, generator=generator), dim=-1)
    elif kind != "none":
        given["clip"] = torch.randn(batch, 256, 1024, generator=generator)
    if kind == "grid+points":
        xyz, rgb = torch.rand(2, batch, 3, low, generator=generator)
        given["low_resolution"] = torch.cat([xyz - 0.5, 255 * rgb], 1)
    for condition in ("clip", "low_resolution"):
        if condition in given:
            given[condition][1] = 0
    return given


def as_the_original(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our arguments under the original's names: its grids are [B, 1024, 256], its vectors have unit length already."""
    names = {"clip": "embeddings", "low_resolution": "low_res"}
    turned = {n: v.transpose(1, 2) if n == "clip" and v.ndim == 3 else v for n, v in given.items()}
    return {names.get(name, name): value for name, value in turned.items()}


def error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


def noisy(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    fill_with_noise(network, seed)
    return network.eval().requires_grad_(False)


def summary(values: Tensor) -> list[float]:
    """Figures that a wrong network would not have: deviation, mean magnitude, and a fixed random projection."""
    direction = torch.randn(values.numel(), generator=torch.Generator().manual_seed(9))
    flat = values.flatten().double()
    return [flat.std().item(), flat.abs().mean().item(), (flat @ direction.double() / flat.numel() ** 0.5).item()]


@original
@pytest.mark.parametrize("name", PUBLISHED)
@torch.inference_mode()
def test_network_is_the_originals(name, record_property):
    from suite.models.point_e.original import original_network

    settings = settings_of(name)
    theirs = noisy(original_network(name, torch.device("cpu"), layers=settings.layers), seed=1)
    with torch.device("meta"):
        ours = PointDiffusionTransformer(settings)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    given = inputs(name, settings.points)
    expected = theirs(**as_the_original(given))
    made = ours(**given)
    record_property("error", error(made, expected))
    assert error(made, expected) <= 1e-5
    for row, other in zip(made, expected):
        assert error(row, other) <= 1e-5
    assert error(expected[:1], expected[1:]) > 0.1  # conditions and times matter, so agreement means something
    assert expected.std() > 0.1


# From the original at fc8a607c08a3 by `python tests/test_parity_point_e.py`, torch 2.13.0, on the CPU: a layer of each.
RECORDED = {
    "base40M-textvec": [1.176591, 0.943973, -0.456391],
    "base40M-imagevec": [1.176591, 0.943973, -0.456391],
    "base40M-uncond": [1.039752, 0.842528, -0.163064],
    "base40M": [1.091655, 0.896827, 0.258846],
    "base300M": [1.207248, 1.002373, -0.686882],
    "base1B": [1.364997, 1.14508, -2.417149],
    "upsample": [1.153028, 0.946605, 2.660195],
}


@pytest.mark.parametrize("name", PUBLISHED)
@torch.inference_mode()
def test_network_gives_the_figures_recorded_from_the_original(name):
    ours = noisy(PointDiffusionTransformer(settings_of(name, layers=1)), seed=1)
    assert summary(ours(**inputs(name, 64, low=32))) == pytest.approx(RECORDED[name], rel=1e-4, abs=1e-4)


def narrow_stages(conditioning: str):
    """Ours, of the original's shape but narrow: base of 64 points, upsampler of 96. Outputs are halved, so that x0 is
    not clamped everywhere."""
    base = "base40M" if conditioning == "grid" else "base40M-textvec"
    settings = [
        dataclasses.replace(PUBLISHED[base], points=64, **NARROW),
        dataclasses.replace(PUBLISHED["upsample"], points=96, low_resolution_points=64, **NARROW),
    ]
    stages = [noisy(PointDiffusionTransformer(s), seed) for seed, s in enumerate(settings, 1)]
    for stage in stages:
        stage.output_proj.weight.mul_(0.5)
        stage.output_proj.bias.zero_()
    return base, stages


def narrow_conditions(conditioning: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    if conditioning == "grid":
        return torch.randn(2, 256, 1024, generator=generator)
    return torch.nn.functional.normalize(torch.randn(2, 768, generator=generator), dim=-1)


def our_cloud(conditioning: str, stages: list, steps: int, sigma_max: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Both stages with the noise that the original draws from the global generator: start, then one a step."""
    base, upsampler = stages
    condition = narrow_conditions(conditioning)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        start, churn = torch.randn(2, 6, 64), [torch.randn(2, 6, 64) for _ in range(steps)]
        start_above = torch.randn(2, 6, 96)
    low = heun(
        Denoiser(base, cosine_schedule(), "epsilon", {"clip": condition}, guidance=3.0),
        start,
        karras_sigmas(steps, 1e-3, sigma_max[0]),
        churn=3.0,
        churn_noise=lambda step: churn[step],
    )
    given = {"clip": condition if conditioning == "grid" else None, "low_resolution": to_physical_units(low)}
    denoise = Denoiser(upsampler, linear_schedule(), "epsilon", given, guidance=3.0 if conditioning == "grid" else 1.0)
    return low, heun(denoise, start_above, karras_sigmas(steps, 1e-3, sigma_max[1]))


def original_cloud(conditioning: str, steps: int, sigma_max: tuple[float, float]) -> tuple[Tensor, Tensor]:
    from point_e.diffusion.configs import DIFFUSION_CONFIGS, diffusion_from_config
    from point_e.diffusion.sampler import PointCloudSampler

    from suite.models.point_e.original import original_network

    base, stages = narrow_stages(conditioning)
    cpu = torch.device("cpu")
    theirs = [
        original_network(base, cpu, n_ctx=64, **NARROW),
        original_network("upsample", cpu, n_ctx=96, cond_ctx=64, **NARROW),
    ]
    for network, ours in zip(theirs, stages):
        network.load_state_dict(ours.state_dict(), strict=True)
    condition = narrow_conditions(conditioning)
    if conditioning == "grid":
        kwargs, filters, guidance = {"images": condition.transpose(1, 2)}, ("*", "*"), (3.0, 3.0)
    else:  # as in their text notebook: the upsampler is given nothing of the text
        kwargs, filters, guidance = {"embeddings": condition}, ("embeddings", ""), (3.0, 0.0)
    sampler = PointCloudSampler(
        cpu,
        theirs,
        [diffusion_from_config(DIFFUSION_CONFIGS[name]) for name in (base, "upsample")],
        [64, 96],
        ["R", "G", "B"],
        model_kwargs_key_filter=filters,
        guidance_scale=guidance,
        karras_steps=(steps, steps),
        sigma_max=sigma_max,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        made = to_network_units(sampler.sample_batch(2, kwargs))
    return made[..., :64], made[..., 64:]


@original
@pytest.mark.parametrize("sigma_max", [(120.0, 160.0), (0.8, 0.8)])
@pytest.mark.parametrize("conditioning", ["vector", "grid"])
@torch.inference_mode()
def test_both_stages_of_the_recipe_are_the_originals_after_64_steps(conditioning, sigma_max, record_property):
    ours = our_cloud(conditioning, narrow_stages(conditioning)[1], 64, sigma_max)
    theirs = original_cloud(conditioning, 64, sigma_max)
    for made, expected in zip(ours, theirs):
        record_property("error", error(made, expected))
        assert error(made, expected) <= 1e-3
        assert expected.std() > 0.1 and expected.abs().amax() < 10


RECORDED_CLOUDS = {  # 8 steps: base, upsampler
    "vector": ([0.786963, 0.720154, 0.067954], [0.663138, 0.583905, -0.434373]),
    "grid": ([0.735339, 0.696725, 0.665777], [0.724968, 0.636388, -0.059955]),
}


@pytest.mark.parametrize("conditioning", ["vector", "grid"])
@torch.inference_mode()
def test_recipe_gives_the_figures_recorded_from_the_original(conditioning):
    made = our_cloud(conditioning, narrow_stages(conditioning)[1], 8, (0.8, 0.8))
    for cloud, figures in zip(made, RECORDED_CLOUDS[conditioning]):
        assert summary(cloud) == pytest.approx(figures, rel=1e-3, abs=1e-3)


def sdf_inputs(points: int, positions: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    clouds, asked = torch.rand(2, 3, points, generator=generator), torch.rand(2, 3, positions, generator=generator)
    return clouds - 0.5, 1.02 * (asked - 0.5)


@original
@torch.inference_mode()
def test_sdf_network_is_the_originals(record_property):
    from suite.models.point_e.original import original_network

    theirs = noisy(original_network("sdf", torch.device("cpu")), seed=1)
    with torch.device("meta"):
        ours = SdfNetwork()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    clouds, positions = sdf_inputs(4096, 1000)
    expected = theirs(positions, point_clouds=clouds)
    made = ours(positions, ours.context(clouds))
    record_property("error", error(made, expected))
    assert error(made, expected) <= 1e-5
    assert expected.std() > 0.1


@original
@torch.inference_mode()
def test_field_of_a_cloud_is_the_originals_on_its_grid(monkeypatch, record_property):
    """Grid, order of axes and units: the volume that their mesh is made from."""
    import numpy as np
    from point_e.util import pc_to_mesh
    from point_e.util.point_cloud import PointCloud

    from suite.models.point_e.original import original_network
    from suite.models.point_e.sdf import field_of_cloud, mesh_of_cloud

    theirs = noisy(original_network("sdf", torch.device("cpu"), n_ctx=64), seed=1)
    ours = SdfNetwork()
    generator = torch.Generator().manual_seed(6)
    cloud = torch.cat([2 * torch.rand(64, 3, generator=generator) - 1, torch.rand(64, 3, generator=generator)], 1)
    ours.load_state_dict(theirs.state_dict())
    theirs.output_proj.bias.sub_(field_of_cloud(ours, cloud, grid=12).mean())  # so that the field has a surface
    ours.load_state_dict(theirs.state_dict())
    volumes = []
    march = pc_to_mesh.skimage.measure.marching_cubes
    monkeypatch.setattr(
        pc_to_mesh.skimage.measure, "marching_cubes", lambda volume, **k: volumes.append(volume) or march(volume, **k)
    )
    channels = {name: cloud[:, 3 + k].numpy() for k, name in enumerate("RGB")}
    mesh = pc_to_mesh.marching_cubes_mesh(PointCloud((cloud[:, :3] / 2).numpy(), channels), theirs, grid_size=12)
    field = field_of_cloud(ours, cloud, grid=12)
    record_property("error", error(field, torch.from_numpy(volumes[0])))
    assert error(field, torch.from_numpy(volumes[0])) <= 1e-5
    assert (field > 0).any() and (field < 0).any()
    # Ours closes the surface at the border of the cube; away from it, each of their vertices is one of ours.
    made = mesh_of_cloud(ours, cloud, grid=12)
    inner = (np.abs(mesh.verts) < 0.5).all(1)
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    nearest, which = torch.cdist(torch.from_numpy(mesh.verts[inner]).float() * 2, made.vertices, **exact).min(1)
    assert inner.sum() > 50 and nearest.amax() < 1e-4
    theirs_rgb = np.stack([mesh.vertex_channels[c] for c in "RGB"], 1)[inner]
    assert np.abs(made.colours[which].numpy() - theirs_rgb).max() < 1e-6


RECORDED_SDF = [0.154311, 2.917258, 0.14254]


@torch.inference_mode()
def test_sdf_network_gives_the_figures_recorded_from_the_original():
    ours = noisy(SdfNetwork(SdfSettings(encoder_layers=2, decoder_layers=2)), seed=1)
    clouds, positions = sdf_inputs(64, 40)
    assert summary(ours(positions, ours.context(clouds))) == pytest.approx(RECORDED_SDF, rel=1e-4, abs=1e-4)


@torch.inference_mode()
def record() -> None:
    """Print the figures above, from the original."""
    from suite.models.point_e.original import original_network

    def rounded(values) -> list[float]:
        return [round(value, 6) for value in values]

    cpu = torch.device("cpu")
    for name in PUBLISHED:
        sizes = {"n_ctx": 64} | ({"cond_ctx": 32} if name == "upsample" else {})
        theirs = noisy(original_network(name, cpu, layers=1, **sizes), seed=1)
        print(f'    "{name}": {rounded(summary(theirs(**as_the_original(inputs(name, 64, low=32)))))},')
    for conditioning in ("vector", "grid"):
        figures = [rounded(summary(c)) for c in original_cloud(conditioning, 8, (0.8, 0.8))]
        print(f'    "{conditioning}": ({figures[0]}, {figures[1]}),')
    theirs = noisy(original_network("sdf", cpu, encoder_layers=2, decoder_layers=2, n_ctx=64), seed=1)
    clouds, positions = sdf_inputs(64, 40)
    print(rounded(summary(theirs(positions, point_clouds=clouds))))


if __name__ == "__main__":
    record()
