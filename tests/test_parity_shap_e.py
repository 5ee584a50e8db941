"""The same weights and inputs through OpenAI's Shap-E and through ours.

With openai/shap-e at 5013101 importable: TEXT3D_PARITY_SIZE=published also takes the networks at their published size
(8 GiB, a minute). Elsewhere the numbers that the original gave are what ours must still give.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from suite.models.samplers import exponential_schedule
from suite.models.shap_e_field import ask, object_weights
from suite.models.shap_e_official import PUBLISHED, Size
from suite.models.views import CoarseToFine, through_box
from tests.shap_e_cases import (
    NARROW,
    condition,
    decoder_state,
    latents,
    our_pipeline,
    our_prior,
    our_renderer,
    prior_state,
    relative,
)

original = pytest.mark.skipif(
    importlib.util.find_spec("shap_e") is None, reason="OpenAI's shap_e is not installed (extra `openai`)"
)
SIZES = [NARROW] + [PUBLISHED] * (os.environ.get("TEXT3D_PARITY_SIZE") == "published")
names = {NARROW: "narrow", PUBLISHED: "published"}
kinds = pytest.mark.parametrize("pictures", [False, True], ids=["text", "image"])
sizes = pytest.mark.parametrize("size", SIZES, ids=names.get)


class GivenClip:
    """In place of the original's CLIP, which it loads over the net: conditions come ready."""

    feature_dim, grid_size, grid_feature_dim = 768, 16, 1024

    def __init__(self, device):
        pass

    def __call__(self, batch_size, images=None, texts=None, embeddings=None):
        return embeddings if texts is None else texts

    def embed_images_grid(self, images):
        return images


@pytest.fixture
def shap_e(monkeypatch):
    """The original's model_from_config, importable without blobfile, which only its downloads need."""
    try:
        import blobfile  # noqa: F401
    except ImportError:
        monkeypatch.setitem(sys.modules, "blobfile", ModuleType("blobfile"))
    from shap_e.models import configs
    from shap_e.models.generation import transformer

    monkeypatch.setattr(transformer, "FrozenImageCLIP", GivenClip)
    return configs.model_from_config


def their_prior(build, pictures: bool, state: dict, size: Size):
    kind = "CLIPImageGridPointDiffusionTransformer" if pictures else "CLIPImagePointDiffusionTransformer"
    inner = {"name": kind, "width": size.heads * 64, "heads": size.heads, "layers": size.layers}
    inner |= {"time_token_cond": True, "use_pos_emb": True} | ({} if pictures else {"token_cond": True})
    layout = {"d_latent": size.latent.tokens * size.latent.width, "latent_ctx": size.latent.tokens}
    model = build({"name": "SplitVectorDiffusion", "inner": inner, **layout}, device=torch.device("cpu"))
    model.load_state_dict(state)
    return model.eval()


def their_decoder(build, state: dict, size: Size, samples: tuple[int, int] = (64, 128)):
    field = {
        "name": "MLPNeRSTFModel", "posenc_version": "nerf", "d_hidden": size.hidden, "n_hidden_layers": 6,
        "n_meta_layers": 4, "insert_direction_at": 4, "activation": "swish", "density_activation": "relu",
        "meta_parameters": True, "meta_bias": False, "trainable_meta": True,
        "separate_nerf_channels": True, "separate_coarse_channels": True,
    }  # fmt: skip
    renderer = {
        "name": "NeRSTFRenderer", "nerstf": field, "grid_size": 32, "separate_shared_samples": True,
        "n_coarse_samples": samples[0], "n_fine_samples": samples[1],
        "void": {"name": "VoidNeRFModel", "background": [255.0] * 3},
        "volume": {"name": "BoundingBoxVolume", "bbox_min": [-1.0] * 3, "bbox_max": [1.0] * 3},
    }  # fmt: skip
    config = {
        "name": "ChannelsDecoder", "d_latent": size.latent.d_latent, "latent_ctx": size.latent.vectors,
        "params_proj": {"name": "channels", "use_ln": True, "learned_scale": 1.0}, "renderer": renderer,
    }  # fmt: skip
    decoder = build(config, device=torch.device("cpu"))
    decoder.load_state_dict(state)
    return decoder.eval()


def their_field(decoder, params, positions, **options):
    from shap_e.models.nn.meta import subdict
    from shap_e.models.query import Query
    from shap_e.util.collections import AttrDict

    return decoder.renderer.nerstf(Query(positions), params=subdict(params, "nerstf"), options=AttrDict(options))


# Networks.


@original
@sizes
@kinds
@torch.no_grad()
def test_the_diffusion_networks_agree(shap_e, pictures, size):
    state = prior_state(pictures, size)
    x, clip = latents(size), condition(pictures, size=size)
    times = torch.tensor([3, 870])
    given = clip.transpose(1, 2) if pictures else clip  # the original's grids are channels first
    made = their_prior(shap_e, pictures, state, size)(x.flatten(1), times, embeddings=given)
    theirs = torch.stack(made.chunk(2, dim=1)).view(2, *x.shape)
    scaled = clip if pictures else clip * clip.shape[-1] ** 0.5
    ours = our_prior(pictures, state, size)(x, timestep=times, proj_embedding=scaled).predicted_image_embedding
    assert relative(torch.stack(ours.chunk(2, dim=-1)), theirs) < 1e-5


@original
@sizes
@torch.no_grad()
def test_projected_weights_and_every_head_of_the_field_agree(shap_e, size):
    state, latent = decoder_state(size), latents(size)
    decoder, renderer = their_decoder(shap_e, state, size), our_renderer(state, size)
    params, weights = decoder.bottleneck_to_params(latent.flatten(1)), object_weights(renderer, latent)
    assert len(weights) == len(params) == 4
    for index, weight in weights.items():
        assert relative(weight, params[f"nerstf.mlp.{index}.weight"]) < 1e-5
    positions = torch.rand(2, 4096, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    ours = ask(renderer, weights, positions)
    stf = their_field(decoder, params, positions)
    fine = their_field(decoder, params, positions, rendering_mode="nerf", nerf_level="fine")
    coarse = their_field(decoder, params, positions, rendering_mode="nerf", nerf_level="coarse")
    assert relative(ours.inside.tanh(), stf.signed_distance[..., 0]) < 1e-5
    assert relative(ours.colour, stf.channels) < 1e-5
    assert relative(ours.density, fine.density[..., 0]) < 1e-5
    assert relative(ours.radiance, fine.channels) < 1e-5
    assert relative(ours.coarse_density, coarse.density[..., 0]) < 1e-5


# NeRF.


def some_rays(count: int = 512):
    """Origins and directions [R, 3] of rays that enter the box."""
    generator = torch.Generator().manual_seed(5)
    origin = 4 * F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    target = 0.9 * (torch.rand(count, 3, generator=generator) * 2 - 1)
    return origin, F.normalize(target - origin, dim=-1)


def our_colours(latent: torch.Tensor, near, far, samples: tuple[int, int], seed: int) -> torch.Tensor:
    pipeline = our_pipeline(pictures=False)
    weights = pipeline.object_weights(latent)
    ask_for = lambda what: lambda positions: pipeline.asked(weights, positions, what)
    along = CoarseToFine(ask_for(lambda made: made.coarse_density), torch.Generator().manual_seed(seed), *samples)
    field = lambda p: (ask_for(lambda made: made.density)(p), ask_for(lambda made: made.radiance)(p))
    return along(field, *some_rays(), near, far)


@original
@torch.no_grad()
def test_rays_rendered_at_the_same_sample_positions_agree(shap_e):
    from shap_e.util.collections import AttrDict

    samples, latent = (16, 32), latents(batch=1)
    origin, forward = some_rays()
    decoder = their_decoder(shap_e, decoder_state(), NARROW, samples)
    params = decoder.bottleneck_to_params(latent.flatten(1))
    box = decoder.renderer.volume.intersect(origin[None], forward[None])
    assert box.intersected.all()
    near, far = through_box(origin, forward)
    assert relative(near, box.t0[0, :, 0]) < 1e-5 and relative(far, box.t1[0, :, 0]) < 1e-5
    torch.manual_seed(7)  # the original draws from the global generator
    theirs = decoder.renderer.render_rays(
        AttrDict(rays=torch.stack([origin, forward], 1)[None]),
        params=params,
        options=AttrDict(render_with_direction=False),
    )
    ours = our_colours(latent, box.t0[0, :, 0], box.t1[0, :, 0], samples, seed=7)
    assert relative(ours * 255, theirs.channels[0]) < 1e-5


# Meshes.


@original
@torch.no_grad()
def test_a_mesh_is_the_originals_but_for_its_scale(shap_e):
    """The original pads the grid by two and maps it to the same box: 32 points become 34, and ±1 becomes ±31/33."""
    from shap_e.rendering.mc import marching_cubes

    pipeline, latent = our_pipeline(pictures=False), latents(batch=1)
    pipeline.grid = 32
    ours = pipeline.mesh(latent)
    decoder = their_decoder(shap_e, decoder_state(), NARROW)
    axis = torch.arange(32) / 31 * 2 - 1
    grid = torch.cartesian_prod(axis, axis, axis)[None]
    inside = their_field(decoder, decoder.bottleneck_to_params(latent.flatten(1)), grid).signed_distance
    padded = F.pad(inside.view(32, 32, 32), (1,) * 6, value=-1.0)
    theirs = marching_cubes(padded, torch.full((3,), -1.0), torch.full((3,), 2.0))
    assert len(theirs.faces) == pytest.approx(len(ours.faces), rel=0.1)  # another table of cases
    inner = theirs.verts.abs().amax(-1) < 31 / 33  # off the border, which ours closes where it lies
    apart = torch.cdist(theirs.verts[inner][::7] * 33 / 31, ours.vertices).amin(1)
    assert apart.median() < 1e-4 and apart.quantile(0.95) < 0.02


# The recipe.


def their_latents(shap_e, pictures: bool, steps: int):
    from shap_e.diffusion.gaussian_diffusion import diffusion_from_config
    from shap_e.diffusion.sample import sample_latents

    clip, model = condition(pictures), their_prior(shap_e, pictures, prior_state(pictures), NARROW)
    torch.manual_seed(31)  # the original draws from the global generator, and building it did
    return sample_latents(
        batch_size=2,
        model=model,
        diffusion=diffusion_from_config({"schedule": "exp", "timesteps": 1024, "mean_type": "x_start"}),
        model_kwargs={"images": clip.transpose(1, 2)} if pictures else {"texts": clip},
        guidance_scale=3.0 if pictures else 15.0,
        clip_denoised=True, use_fp16=False, use_karras=True, karras_steps=steps, sigma_min=1e-3, sigma_max=160,
        s_churn=0,
    ).view(2, NARROW.latent.tokens, NARROW.latent.width)  # fmt: skip


def our_latents(pictures: bool, steps: int):
    noise = torch.randn(2, NARROW.latent.tokens, NARROW.latent.width, generator=torch.Generator().manual_seed(31))
    pipeline = our_pipeline(pictures)
    pipeline.steps = steps
    return pipeline.diffuse(condition(pictures), noise)


@original
@kinds
@torch.no_grad()
def test_64_steps_from_the_same_noise_end_at_the_same_latents(shap_e, pictures):
    assert relative(our_latents(pictures, 64), their_latents(shap_e, pictures, 64)) < 1e-3


@original
def test_the_noise_schedules_agree(shap_e):
    from shap_e.diffusion.gaussian_diffusion import diffusion_from_config

    theirs = diffusion_from_config({"schedule": "exp", "timesteps": 1024, "mean_type": "x_start"}).alphas_cumprod
    assert relative(exponential_schedule().alphas_cumprod, torch.from_numpy(theirs)) < 1e-12
