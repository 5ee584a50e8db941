"""Shap-E's machinery with fresh small networks: the field, its meshes and views, and recipes on the prior."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from diffusers.pipelines.shap_e.renderer import ShapERenderer, posenc_nerf

from suite.metrics.seen import seen
from suite.models.shap_e.field import ALL_OCTAVES, ask, encode, object_weights
from suite.models.shap_e.networks import NANO_OCTAVES, build_nano_prior, build_nano_renderer
from suite.models.shap_e.pipeline import NANO_LATENT, ShapE, assemble_nano
from suite.models.shap_e.views import CoarseToFine, Evenly, render_views
from suite.optimizations.arithmetic import simulated_integers
from suite.optimizations.arithmetic.dynamic_int8 import quantize as dynamic
from suite.optimizations.arithmetic.precision import cast
from suite.optimizations.arithmetic.simulated_integers import quantize as simulate
from suite.scenes.renderer import ELEVATION_DEG, render
from suite.training.train_shap_e import tie_density

CPU = torch.device("cpu")


class NoCondition:
    """Unit vectors that depend on the prompt alone."""

    networks: dict = {}

    def __call__(self, prompts, sample, stage):
        rows = [torch.randn(128, generator=torch.Generator().manual_seed(len(prompt))) for prompt in prompts]
        return F.normalize(torch.stack(rows), dim=-1)


def positions(batch: int = 2, count: int = 300) -> torch.Tensor:
    return torch.rand(batch, count, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


def fresh(make, seed: int = 0):
    """Networks draw their first weights from the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval().requires_grad_(False)


def pipeline(seed: int = 0) -> ShapE:
    prior = fresh(build_nano_prior, seed)
    prior.clip_std.fill_(1.0)
    return assemble_nano("shap-e-nano-text", prior, fresh(build_nano_renderer, seed), NoCondition(), CPU)


def ball(radius: float = 0.6, offset: float = 0.2) -> ShapE:
    """A pipeline whose field is an octahedron, whatever the latent: inside = radius - |x - offset| - |y| - |z|."""
    made = pipeline()
    made.octaves = ALL_OCTAVES
    renderer = fresh(
        lambda: ShapERenderer(
            param_names=("nerstf.mlp.0.weight",),
            param_shapes=((64, 93),),
            d_latent=16,
            d_hidden=64,
            n_hidden_layers=1,
            insert_direction_at=None,
        )
    )
    projection = renderer.params_proj.projections["nerstf__mlp__0__weight"]
    for part in (projection.norm.weight, projection.norm.bias, projection.proj.bias):
        part.zero_()
    steep, first, last = 40.0, *renderer.mlp.mlp
    rows = projection.proj.bias.view(64, 93)
    for axis in range(3):  # silu(s) + silu(-s) is nearly |s| once s is steep
        rows[2 * axis, axis], rows[2 * axis + 1, axis] = steep, -steep
    first.bias.zero_()
    first.bias[0], first.bias[1] = -steep * offset, steep * offset
    last.weight.zero_(), last.bias.zero_()
    last.weight[0, :6], last.bias[0] = -1 / steep, radius
    last.weight[1:3], last.bias[1:3] = 1e4 * last.weight[0], 1e4 * radius
    last.bias[3:6] = last.bias[9:12] = torch.tensor([2.0, -2.0, 0.0])
    made.networks["mesh decoder"] = renderer
    return made


# The field.


@pytest.mark.parametrize("direction_at", [None, 4])
def test_asking_objects_together_is_diffusers_network_asked_one_by_one(direction_at):
    renderer = fresh(
        lambda: ShapERenderer(
            param_shapes=((32, 93), (32, 32), (32, 32), (32, 32)),
            d_latent=8,
            d_hidden=32,
            insert_direction_at=direction_at,
        )
    )
    latents = torch.randn(2, 128, 8, generator=torch.Generator().manual_seed(1))
    weights = object_weights(renderer, latents)
    made = ask(renderer, weights, positions())
    for k in range(2):
        for index, weight in weights.items():
            renderer.mlp.mlp[index].weight.copy_(weight[k])
        given = {"position": positions()[k : k + 1], "direction": None, "ts": None}
        stf = renderer.mlp(**given, nerf_level="fine", rendering_mode="stf")
        fine = renderer.mlp(**given, nerf_level="fine")
        coarse = renderer.mlp(**given, nerf_level="coarse")
        assert torch.allclose(made.inside[k].tanh(), stf.signed_distance[0, :, 0], atol=1e-5)
        assert torch.allclose(made.colour[k], stf.channels[0], atol=1e-5)
        assert torch.allclose(made.radiance[k], fine.channels[0], atol=1e-5)
        assert torch.allclose(made.density[k], fine.density[0, :, 0], rtol=1e-4, atol=1e-5)
        assert torch.allclose(made.coarse_density[k], coarse.density[0, :, 0], rtol=1e-4, atol=1e-5)
    assert (made.inside[0] - made.inside[1]).abs().max() > 0.01


def test_the_embedded_field_needs_only_its_octaves():
    renderer = fresh(build_nano_renderer)
    latents = torch.randn(1, NANO_LATENT.vectors, NANO_LATENT.d_latent, generator=torch.Generator().manual_seed(1))
    weights = object_weights(renderer, latents)
    some, all_of_them = (ask(renderer, weights, positions(1), octaves) for octaves in (NANO_OCTAVES, ALL_OCTAVES))
    assert torch.allclose(some.inside, all_of_them.inside, atol=1e-5)
    assert some.inside.std() > 0.01


def test_the_encoding_is_diffusers_own():
    assert torch.equal(encode(positions(), ALL_OCTAVES), posenc_nerf(positions()))
    assert torch.allclose(encode(positions(), 6), posenc_nerf(positions(), max_deg=6), atol=1e-5)


# Meshes and views.


def test_mesh_and_views_show_the_same_thing_in_the_same_place():
    made = ball()
    latent = torch.zeros(1, NANO_LATENT.tokens, NANO_LATENT.width)
    mesh = made.mesh(latent)
    assert (mesh.vertices - torch.tensor([0.2, 0, 0])).abs().sum(-1).sub(0.6).abs().max() < 0.05
    assert torch.allclose(mesh.colours, torch.tensor([2.0, -2.0, 0.0]).sigmoid().expand_as(mesh.colours), atol=1e-4)
    view = made.views(latent, torch.Generator(), count=4)[0]
    shown = seen([mesh])
    azimuth = torch.arange(4)[None] * 90.0
    splats = render(shown.clouds, azimuth, torch.full_like(azimuth, ELEVATION_DEG), normals=shown.normals)[0]
    for a, b in zip(view[:, 1] < 0.5, splats[:, 1] < 0.5):
        assert not (a & ~b).any()  # a splat's discs reach a pixel over the edge
        assert a.sum() > 0.7 * b.sum()


@pytest.mark.parametrize("whose", ["the mesh's", "the views'"])
def test_a_field_without_a_surface_gives_an_empty_mesh_and_a_blank_view(whose):
    made = ball(radius=-1.0)
    latent = torch.zeros(1, NANO_LATENT.tokens, NANO_LATENT.width)
    if whose == "the mesh's":
        assert made.mesh(latent).empty
    else:
        assert (made.views(latent, torch.Generator(), count=2) == 1).all()


def test_tied_density_is_dense_where_the_mesh_is_solid():
    renderer = fresh(build_nano_renderer)
    state = tie_density({f"renderer.{name}": value for name, value in renderer.state_dict().items()})
    renderer.load_state_dict({name.removeprefix("renderer."): value for name, value in state.items()})
    latents = torch.randn(1, NANO_LATENT.vectors, NANO_LATENT.d_latent, generator=torch.Generator().manual_seed(1))
    made = ask(renderer, object_weights(renderer, latents), positions(1), NANO_OCTAVES)
    assert torch.allclose(made.density, 2000 * (made.inside + 0.02).relu(), rtol=1e-3, atol=0.05)
    assert torch.equal(made.density, made.coarse_density) and torch.allclose(made.radiance, made.colour)


# Sampling along rays.


def cloud(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A soft ball whose colour is its place."""
    return 6 * torch.sigmoid(30 * (0.5 - positions.norm(dim=-1))), (positions + 1) / 2


def test_coarse_to_fine_sampling_sees_what_a_thousand_even_samples_see():
    def along(coarse: int, fine: int, seed: int = 0):
        return CoarseToFine(lambda p: cloud(p)[0], torch.Generator().manual_seed(seed), coarse, fine)

    azimuth = torch.tensor([30.0])
    exact = render_views(cloud, azimuth, 24, Evenly(1000))

    def error(*samples: int) -> float:
        return (render_views(cloud, azimuth, 24, along(*samples)) - exact).abs().mean().item()

    assert error(64, 128) < 2e-3 < error(8, 8) < 0.05
    assert torch.equal(render_views(cloud, azimuth, 24, along(8, 8)), render_views(cloud, azimuth, 24, along(8, 8)))
    assert not torch.equal(
        render_views(cloud, azimuth, 24, along(8, 8)), render_views(cloud, azimuth, 24, along(8, 8, seed=1))
    )


def test_a_picture_of_a_homogeneous_box_is_beers_law():
    def box(positions):
        return torch.full((len(positions),), 0.7), torch.zeros_like(positions)

    along = CoarseToFine(lambda p: box(p)[0], torch.Generator().manual_seed(0), 8, 8)
    picture = along(
        box, torch.tensor([[0.0, 0, -4]]), torch.tensor([[0.0, 0, 1]]), torch.tensor([3.0]), torch.tensor([5.0])
    )
    assert picture[0].tolist() == pytest.approx([math.exp(-1.4)] * 3, rel=1e-5)


# The pipeline.


def test_neither_objects_nor_views_touch_the_global_generator():
    made = pipeline()
    made.steps, made.grid, made.ray_samples = 2, 12, (4, 4)
    before = torch.get_rng_state()
    made.generate(["a red cube"])
    made.extra("NeRF views", ["a red cube"])
    assert torch.equal(torch.get_rng_state(), before)


def test_an_extra_stage_decodes_the_newest_latents_and_makes_others_anew():
    made = pipeline()
    made.steps, made.grid = 2, 8
    made.views = lambda latent, draws: latent  # what is decoded
    calls = []
    made.networks["latent diffusion"].register_forward_pre_hook(lambda *_: calls.append(1))
    first = made.latents(["a"])
    count = len(calls)
    assert torch.equal(made.extra("NeRF views", ["a"]), first) and len(calls) == count
    assert torch.equal(made.extra("NeRF views", ["bb"]), made.latents(["bb"])) and len(calls) > count
    made.steps = 3
    assert not torch.equal(made.extra("NeRF views", ["bb"]), made.extra("NeRF views", ["a"]))
    made.latents(["a"], sample=1)
    assert torch.equal(made.extra("NeRF views", ["a"]), made.latents(["a"]))


def test_a_latent_does_not_depend_on_its_batch():
    made = pipeline()
    made.steps = 4
    together, alone = made.latents(["a", "bb"]), made.latents(["bb"])
    assert (together[1] - alone[0]).abs().max() < 1e-3 < together.std()


def relative(made: ShapE, reference: torch.Tensor) -> float:
    latents = made.latents(["a", "bb"])
    assert latents.dtype == torch.float32 and latents.isfinite().all()
    return ((latents - reference).norm() / reference.norm()).item()


@pytest.fixture
def reference() -> torch.Tensor:
    made = pipeline()
    made.steps = 8
    return made.latents(["a", "bb"])


def test_the_prior_runs_in_bfloat16_near_float32(reference):
    made = cast(pipeline(), CPU, dtype="bfloat16")
    made.steps = 8
    assert {p.dtype for p in made.networks["latent diffusion"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in made.networks["mesh decoder"].parameters()} == {torch.float32}
    assert 0 < relative(made, reference) < 0.05


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="this torch has no fbgemm")
def test_the_prior_runs_in_dynamic_int8_near_float32(reference):
    made = dynamic(pipeline(), CPU, engine="fbgemm")
    made.steps = 8
    assert not any(isinstance(m, torch.nn.Linear) for m in made.networks["latent diffusion"].modules())
    assert 0 < relative(made, reference) < 0.1


@pytest.mark.parametrize(("weights", "activations", "most"), [(8, 8, 0.1), (3, None, 0.8)])
def test_the_prior_runs_in_simulated_integers(monkeypatch, reference, weights, activations, most):
    monkeypatch.setattr(simulated_integers, "CALIBRATION_PROMPTS", 2)
    monkeypatch.setattr(simulated_integers, "CALIBRATION_STEPS", 4)
    made = pipeline()
    made.grid = 8
    simulate(made, CPU, weight_bits=weights, activation_bits=activations)
    made.steps = 8
    assert 0 < relative(made, reference) < most
