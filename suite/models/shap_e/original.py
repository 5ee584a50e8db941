"""OpenAI's own Shap-E, where it is installed: their networks, sampler and decoders, in this suite's pipeline.

github.com/openai/shap-e at commit 5013101 (MIT). Its networks are built by `model_from_config` and take the tensors of
ours in its own layout. Their CLIP is replaced by one that hands on what ours computed; so are two packages that only
their downloads (blobfile) and notebook widgets (ipywidgets) need, where these are absent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from suite.models.finite import not_finite
from suite.models.mesh import Mesh
from suite.models.pipeline import Stage, untimed
from suite.models.sampling.noise import generator
from suite.models.shap_e.full_size import GRID, PUBLISHED, RAY_SAMPLES, Size
from suite.models.shap_e.layouts import from_prior, from_renderer
from suite.models.shap_e.pipeline import ShapE

DIFFUSION = {"mean_type": "x_start", "schedule": "exp", "timesteps": 1024}


class GivenClip:
    """What the original's networks ask of a CLIP, answered with features that were computed before."""

    feature_dim, grid_size, grid_feature_dim = 768, 16, 1024

    def __init__(self, device: torch.device):
        pass

    def __call__(self, batch_size: int, images: Any = None, texts: Any = None, embeddings: Any = None) -> Tensor:
        return embeddings if texts is None else texts

    def embed_images_grid(self, images: Tensor) -> Tensor:
        return images


@contextmanager
def importable() -> Iterator[None]:
    """Within, shap_e can be imported without what its inference does not use."""
    absent = []
    for name in ("blobfile", "ipywidgets"):
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = ModuleType(name)
            absent.append(name)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def built(config: dict[str, Any], device: torch.device) -> nn.Module:
    with importable():
        from shap_e.models.configs import model_from_config
        from shap_e.models.generation import transformer

    kept, transformer.FrozenImageCLIP = transformer.FrozenImageCLIP, GivenClip
    try:
        return model_from_config(config, device=device).eval()
    finally:
        transformer.FrozenImageCLIP = kept


def original_prior(pictures: bool, state: dict[str, Tensor], size: Size = PUBLISHED) -> nn.Module:
    """Their diffusion network with a state in their layout; its tensors are kept."""
    kind = "CLIPImageGridPointDiffusionTransformer" if pictures else "CLIPImagePointDiffusionTransformer"
    inner = {"name": kind, "width": size.heads * 64, "heads": size.heads, "layers": size.layers}
    inner |= {"time_token_cond": True, "use_pos_emb": True} | ({} if pictures else {"token_cond": True})
    layout = {"d_latent": size.latent.tokens * size.latent.width, "latent_ctx": size.latent.tokens}
    model = built({"name": "SplitVectorDiffusion", "inner": inner, **layout}, torch.device("meta"))
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def original_decoder(
    state: dict[str, Tensor],
    device: torch.device,
    size: Size = PUBLISHED,
    grid: int = GRID,
    ray_samples: tuple[int, int] = RAY_SAMPLES,
) -> nn.Module:
    """Their decoder with a state in their layout. Its box and scales are not in the state, so it is built whole."""
    field = {
        "name": "MLPNeRSTFModel",
        "posenc_version": "nerf",
        "d_hidden": size.hidden,
        "n_hidden_layers": 6,
        "n_meta_layers": 4,
        "insert_direction_at": 4,
        "activation": "swish",
        "density_activation": "relu",
        "meta_parameters": True,
        "meta_bias": False,
        "trainable_meta": True,
        "separate_nerf_channels": True,
        "separate_coarse_channels": True,
    }
    renderer = {
        "name": "NeRSTFRenderer",
        "nerstf": field,
        "grid_size": grid,
        "separate_shared_samples": True,
        "n_coarse_samples": ray_samples[0],
        "n_fine_samples": ray_samples[1],
        "void": {"name": "VoidNeRFModel", "background": [255.0] * 3},
        "volume": {"name": "BoundingBoxVolume", "bbox_min": [-1.0] * 3, "bbox_max": [1.0] * 3},
    }
    config = {
        "name": "ChannelsDecoder",
        "d_latent": size.latent.d_latent,
        "latent_ctx": size.latent.vectors,
        "params_proj": {"name": "channels", "use_ln": True, "learned_scale": 1.0},
        "renderer": renderer,
    }
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # its fresh weights are drawn
        decoder = built(config, device)
    decoder.load_state_dict(state, assign=True)
    return decoder.requires_grad_(False)


@dataclass
class OriginalShapE(ShapE):
    """The same stages by the original's code. Its noise comes from torch's global generator, seeded by the prompt."""

    own_sampler = True

    def latents(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor:
        condition = self.condition(prompts, sample, stage)
        with stage("latent diffusion"):
            seeds = [generator("original latent", self.model, p, sample).initial_seed() for p in prompts]
            made = torch.cat([self.sampled(condition[k : k + 1], seed) for k, seed in enumerate(seeds)])
        self._made = (self._asked_for(prompts), made) if sample == 0 else self._made
        return made

    def sampled(self, condition: Tensor, seed: int) -> Tensor:
        """One prompt's latent [1, tokens, width], as in the notebooks: half precision on CUDA, none on a CPU."""
        with importable():
            from shap_e.diffusion.gaussian_diffusion import diffusion_from_config
            from shap_e.diffusion.sample import sample_latents

        cuda = self.device.type == "cuda"
        kwargs = {"images": condition.transpose(1, 2)} if condition.ndim == 3 else {"texts": condition}
        with torch.random.fork_rng(devices=[self.device] if cuda else []):
            torch.manual_seed(seed)
            made = sample_latents(
                batch_size=len(condition),
                model=self.networks["latent diffusion"],
                diffusion=diffusion_from_config(DIFFUSION),
                model_kwargs=kwargs,
                guidance_scale=self.guidance,
                clip_denoised=True,
                use_fp16=cuda,
                use_karras=True,
                karras_steps=self.steps,
                sigma_min=self.sigma_min,
                sigma_max=self.sigma_max,
                s_churn=0.0,
                device=self.device,
            )
        return made.view(len(condition), self.latent.tokens, self.latent.width)

    @torch.inference_mode()
    def mesh(self, latent: Tensor) -> Mesh:
        """Their mesh, at their scale: smaller by (G - 1) / (G + 1). Their texture is asked again at its vertices, since
        without pytorch3d they paint pictures with it and drop it; their triangle for want of a surface is no face."""
        with importable():
            from shap_e.models.nn.meta import subdict
            from shap_e.models.query import Query
            from shap_e.util.collections import AttrDict
            from shap_e.util.notebooks import decode_latent_mesh

        if fault := not_finite(latent.flatten(), "numbers of its latent"):  # of which they make a field without surface
            return Mesh.nothing(fault)
        decoder = self.networks["mesh decoder"]
        made = decode_latent_mesh(decoder, latent.float().flatten())
        if len(made.faces) == 1 and (made.verts == made.verts[0]).all():
            return Mesh.nothing()
        params = subdict(decoder.bottleneck_to_params(latent.float().flatten(1)), "nerstf")
        asked = decoder.renderer.nerstf.forward_batched(Query(made.verts[None]), params=params, options=AttrDict())
        colours = asked.channels[0]
        return Mesh(made.verts.cpu(), made.faces.cpu(), colours.float().cpu())

    def extra_part(self, name: str) -> None:
        return None  # their pictures ask by a way of their own

    @torch.inference_mode()
    def views(self, latent: Tensor, draws: torch.Generator, count: int = 20, size_px: int = 64) -> Tensor:
        """Their NeRF pictures with their cameras, of which there are 20."""
        with importable():
            from shap_e.util.collections import AttrDict
            from shap_e.util.notebooks import create_pan_cameras

        decoder = self.networks["mesh decoder"]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(draws.initial_seed())
            made = decoder.renderer.render_views(
                AttrDict(cameras=create_pan_cameras(size_px, self.device)),
                params=decoder.bottleneck_to_params(latent.float().flatten(1)),
                options=AttrDict(rendering_mode="nerf", render_with_direction=False),
            )
        return (made.channels / 255).clamp(0, 1).permute(0, 1, 4, 2, 3)[:, :count]


def original(pipeline: ShapE, size: Size = PUBLISHED) -> OriginalShapE:
    """The pipeline with the original's networks, sampler and decoders; the weights are those of ours."""
    own = {f.name: getattr(pipeline, f.name) for f in fields(pipeline)} | {"_made": None}
    prior, renderer = pipeline.networks["latent diffusion"], pipeline.networks["mesh decoder"]
    pictures = prior.embedding_proj_norm is not None
    own["networks"] = pipeline.networks | {
        "latent diffusion": original_prior(pictures, from_prior(prior.state_dict(), size.heads), size),
        "mesh decoder": original_decoder(
            from_renderer(renderer.state_dict()), pipeline.device, size, pipeline.grid, pipeline.ray_samples
        ),
    }
    return OriginalShapE(**own)
