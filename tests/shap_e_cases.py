"""Seeded noise in the layout of OpenAI's Shap-E checkpoints, and our networks made from it: what the parity tests and
their recorded numbers share. Every parameter is filled, since the original's last layer starts at zero."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.models.checkpoints.networks import loaded_network
from suite.models.shap_e.full_size import HEAD_WIDTH, Size, assemble, build_prior, build_renderer
from suite.models.shap_e.layouts import to_prior, to_renderer
from suite.models.shap_e.pipeline import LatentLayout, ShapE

CPU = torch.device("cpu")
NARROW = Size(
    heads=4,
    layers=3,
    latent=LatentLayout(tokens=128, width=64, vectors=128, d_latent=64),
    clip_vector=768,  # the original looks CLIP's widths up by its name
    clip_grid=1024,
    hidden=32,
)
GAIN = 1.7  # of the field's layers, since its activation halves what goes through
PROJECTED = 4  # layers of the field whose weights come from the latent


def prior_shapes(pictures: bool, size: Size) -> dict[str, tuple[int, ...]]:
    """Of `text_cond`, or for `pictures` of `image_cond`, at any size."""
    width, latent = size.heads * HEAD_WIDTH, size.latent
    norm = {"weight": (width,), "bias": (width,)}
    layers = {
        "time_embed.c_fc": linear(4 * width, width),
        "time_embed.c_proj": linear(width, 4 * width),
        "ln_pre": norm,
        "ln_post": norm,
        "input_proj": linear(width, latent.width),
        "output_proj": linear(2 * latent.width, width),
    }
    if pictures:
        layers["clip_embed.0"] = {"weight": (size.clip_grid,), "bias": (size.clip_grid,)}
        layers["clip_embed.1"] = linear(width, size.clip_grid)
    else:
        layers["clip_embed"] = linear(width, size.clip_vector)
    for index in range(size.layers):
        block = f"backbone.resblocks.{index}"
        layers |= {
            f"{block}.attn.c_qkv": linear(3 * width, width),
            f"{block}.attn.c_proj": linear(width, width),
            f"{block}.ln_1": norm,
            f"{block}.mlp.c_fc": linear(4 * width, width),
            f"{block}.mlp.c_proj": linear(width, 4 * width),
            f"{block}.ln_2": norm,
        }
    shapes = {f"wrapped.{layer}.{part}": shape for layer, parts in layers.items() for part, shape in parts.items()}
    return shapes | {"wrapped.pos_emb": (latent.tokens, width)}


def decoder_shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """Of `vector_decoder`."""
    rows = size.hidden
    inputs = [3 + 6 * 15, rows, rows, rows, rows + 3 + 6 * 8, rows, rows]  # 15 octaves of position, 8 of direction
    outputs = [rows] * 6 + [12]
    shapes: dict[str, tuple[int, ...]] = {"renderer.void.background": (3,)}
    for index, (columns, made) in enumerate(zip(inputs, outputs)):
        shapes |= {f"renderer.nerstf.mlp.{index}.{part}": s for part, s in linear(made, columns).items()}
        if index < PROJECTED:
            name = f"params_proj.projections.nerstf__mlp__{index}__weight"
            shapes |= {f"{name}.proj.{part}": s for part, s in linear(made * columns, size.latent.d_latent).items()}
            shapes |= {f"{name}.norm.weight": (columns,), f"{name}.norm.bias": (columns,)}
    return shapes


def linear(made: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (made, columns), "bias": (made,)}


def noise_state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Seeded noise for every key, at sizes that keep activations near unit variance."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in sorted(shapes.items()):
        value = torch.randn(shape, generator=generator)
        if len(shape) == 2:
            state[key] = value * (GAIN if "nerstf.mlp" in key else 1.0) / shape[1] ** 0.5
        elif key.endswith("weight"):  # a LayerNorm's
            state[key] = (1 + 0.3 * value) * (GAIN * shape[0] ** -0.5 if "params_proj" in key else 1.0)
        elif ".proj.bias" in key:  # added to each projected weight
            state[key] = 0.02 * value
        else:
            state[key] = 0.3 * value * (shape[0] ** -0.5 if "params_proj" in key else 1.0)
    if (last := "renderer.nerstf.mlp.6.bias") in state:
        state[last][1:3] = 0.5  # densities: not 0 everywhere
    if "renderer.void.background" in state:
        state["renderer.void.background"] = torch.ones(3)  # the original's, and the judge's
    return state


def prior_state(pictures: bool, size: Size = NARROW) -> dict[str, Tensor]:
    return noise_state(prior_shapes(pictures, size), seed=11 + pictures)


def decoder_state(size: Size = NARROW) -> dict[str, Tensor]:
    return noise_state(decoder_shapes(size), seed=13)


def our_prior(pictures: bool, state: dict[str, Tensor], size: Size = NARROW):
    return loaded_network(lambda: build_prior(pictures, size), to_prior(state, size.heads), CPU).eval()


def our_renderer(state: dict[str, Tensor], size: Size = NARROW):
    return loaded_network(lambda: build_renderer(size), to_renderer(state), CPU).eval()


def our_pipeline(pictures: bool, size: Size = NARROW) -> ShapE:
    networks = {
        "latent diffusion": our_prior(pictures, prior_state(pictures, size), size),
        "mesh decoder": our_renderer(decoder_state(size), size),
    }
    return assemble(
        "shap-e-of-noise",
        networks,
        lambda prompts, sample, stage: condition(pictures, len(prompts), size),
        CPU,
        guidance=3.0 if pictures else 15.0,
        size=size,
    )


def condition(pictures: bool, batch: int = 2, size: Size = NARROW) -> Tensor:
    """Unit vectors [B, 768], or grids [B, 256, 1024], of noise."""
    generator = torch.Generator().manual_seed(21)
    if pictures:
        return torch.randn(batch, 256, size.clip_grid, generator=generator)
    return torch.nn.functional.normalize(torch.randn(batch, size.clip_vector, generator=generator), dim=-1)


def latents(size: Size = NARROW, batch: int = 2, seed: int = 22) -> Tensor:
    return torch.randn(
        batch, size.latent.tokens, size.latent.width, generator=torch.Generator().manual_seed(seed)
    ).clamp(-1, 1)


def relative(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖b‖, of outputs that vary."""
    assert a.shape == b.shape
    assert b.std() > 1e-3 * b.abs().mean() > 0
    return ((a - b).norm() / b.norm()).item()
