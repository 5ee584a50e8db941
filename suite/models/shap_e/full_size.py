"""Shap-E at its published size: diffusers' networks, OpenAI's recipe.

Sampling and decoding are the original's (openai/shap-e at 5013101), which diffusers' pipelines are not in every point:
docs/parity.md says where, and by how much. The configurations lie beside OpenAI's checkpoints and not in its
repository; docs/parity.md says how these are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from suite.models.checkpoints import official
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.models.checkpoints.layout import misfits
from suite.models.checkpoints.networks import FullSizeWeights, loaded_network
from suite.models.conditioning.full_size import Condition, picture_condition, text_condition
from suite.models.pipeline import Stage
from suite.models.sampling.denoiser import exponential_schedule
from suite.models.shap_e.field import ALL_OCTAVES, encoding_columns
from suite.models.shap_e.layouts import from_prior, from_renderer, to_prior, to_renderer
from suite.models.shap_e.networks import PriorTransformer, ShapERenderer
from suite.models.shap_e.pipeline import LatentLayout, ShapE

HEAD_WIDTH = 64
GRID = 128
RAY_SAMPLES = (64, 128)  # coarse and fine, along each ray of a NeRF view
TEXT_GUIDANCE, PICTURE_GUIDANCE = 15.0, 3.0  # of the original's notebooks
RANDOM_OCTAVES = 3  # of a field with random weights


@dataclass(frozen=True)
class Size:
    """Of a diffusion network and its decoder; by default the published one."""

    heads: int = 16
    layers: int = 24
    latent: LatentLayout = LatentLayout(tokens=1024, width=1024, vectors=1024, d_latent=1024)
    clip_vector: int = 768
    clip_grid: int = 1024
    hidden: int = 256  # of the field's network


PUBLISHED = Size()


def build_prior(pictures: bool, size: Size = PUBLISHED) -> PriorTransformer:
    """A CLIP vector, or for `pictures` a CLIP grid, and a noisy latent -> the latent and a range of its variance."""
    prior = PriorTransformer(
        num_attention_heads=size.heads,
        attention_head_dim=HEAD_WIDTH,
        num_layers=size.layers,
        embedding_dim=size.latent.width,
        num_embeddings=size.latent.tokens,
        additional_embeddings=0,
        time_embed_act_fn="gelu",
        time_embed_dim=4 * size.heads * HEAD_WIDTH,
        norm_in_type="layer",
        encoder_hid_proj_type=None,
        added_emb_type=None,
        clip_embed_dim=2 * size.latent.width,
        embedding_proj_dim=size.clip_grid if pictures else size.clip_vector,
        embedding_proj_norm_type="layer" if pictures else None,
    )
    prior.causal_attention_mask = None  # of tokens by tokens, and never read: no one gives a mask
    return prior


def build_renderer(size: Size = PUBLISHED) -> ShapERenderer:
    """A latent -> a field: seven layers, of which the first four come from the latent."""
    rows = size.hidden
    renderer = ShapERenderer(
        param_shapes=((rows, 3 + 6 * ALL_OCTAVES), (rows, rows), (rows, rows), (rows, rows)),
        d_latent=size.latent.d_latent,
        d_hidden=rows,
    )
    del renderer.mesh_decoder  # tables that OpenAI's checkpoints lack; meshes are made by suite.models.mesh
    return renderer


def checkpoint_layout(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of one of OpenAI's checkpoints by their keys, without memory; of the transmitter, its decoder's."""
    with torch.device("meta"):
        if checkpoint in ("vector_decoder", "transmitter"):
            made = from_renderer(build_renderer(PUBLISHED).state_dict())
            decoder = checkpoint == "vector_decoder"
            return {key: value for key, value in made.items() if decoder or key.startswith("renderer.")}
        return from_prior(build_prior(checkpoint == "image_cond", PUBLISHED).state_dict(), PUBLISHED.heads)


def build_text(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> ShapE:
    """`shap-e-300m-text`. dtype: of the diffusion network."""
    source = FullSizeWeights(weights, device, dtype)
    condition = text_condition(source)

    def vector(prompts: list[str], sample: int, stage: Stage) -> Tensor:
        return condition(prompts, sample, stage).vector

    return _build("shap-e-300m-text", "text_cond", source, condition.networks, vector)


def build_image(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> ShapE:
    """`shap-e-300m-image`: text -> picture -> latent -> mesh."""
    source = FullSizeWeights(weights, device, dtype)
    condition = picture_condition("shap-e-300m-image", source)

    def grid(prompts: list[str], sample: int, stage: Stage) -> Tensor:
        return grid_of(condition(prompts, sample, stage))

    return _build("shap-e-300m-image", "image_cond", source, condition.networks, grid)


def grid_of(condition: Condition) -> Tensor:
    if condition.grid is None:
        raise ValueError("Shap-E's image network is conditioned on a picture's grid, and there is no picture")
    return condition.grid


def _build(
    name: str,
    checkpoint: str,
    source: FullSizeWeights,
    encoders: dict[str, nn.Module | None],
    condition: Callable[[list[str], int, Stage], Tensor],
) -> ShapE:
    pictures = checkpoint == "image_cond"
    prior = network(source, checkpoint, lambda: build_prior(pictures))
    renderer = network(source, "vector_decoder", build_renderer, dtype=torch.float32)
    networks = {stage: encoder for stage, encoder in encoders.items() if encoder is not None}
    return assemble(
        name,
        networks | {"latent diffusion": prior, "mesh decoder": renderer},
        condition,
        source.device,
        guidance=PICTURE_GUIDANCE if pictures else TEXT_GUIDANCE,
        weights_sha256=source.sha256,
    )


def assemble(
    name: str,
    networks: dict[str, nn.Module],
    condition: Callable[[list[str], int, Stage], Tensor],
    device: torch.device,
    *,
    guidance: float,
    weights_sha256: str | None = None,
    size: Size = PUBLISHED,
) -> ShapE:
    """The original's recipe around networks of any size."""
    return ShapE(
        model=name,
        networks=networks,
        condition=condition,
        weights_sha256=weights_sha256,
        device=device,
        latent=size.latent,
        guidance=guidance,
        octaves=ALL_OCTAVES,
        grid=GRID,
        prediction="x0",
        clamp=True,
        whitened=False,
        squashed=True,
        field_slope=1.0,  # of a signed distance; not checked with official weights
        ray_samples=RAY_SAMPLES,
        schedule=exponential_schedule(),
    )


def network(
    source: FullSizeWeights, checkpoint: str, make: Callable[[], nn.Module], dtype: torch.dtype | None = None
) -> nn.Module:
    """The network of a checkpoint, with OpenAI's weights if these are official, else with seeded noise."""
    if source.kind == "random":
        decoder = checkpoint == "vector_decoder"
        buffers = {"void.background": torch.ones(3)} if decoder else None
        made = source.network(checkpoint, make, dtype=dtype, buffers=buffers)
        if decoder:
            calm(made)
        return made
    state, digest = official_state(checkpoint)
    source.digests.append(digest)
    made = loaded_network(make, state, source.device, dtype or source.dtype, name=f"the weights of {checkpoint}")
    return made.eval().requires_grad_(False)


def official_state(checkpoint: str) -> tuple[dict[str, Tensor], str]:
    """A published network's state in diffusers' layout, and the file's hash: OpenAI's own file, or else the one of
    diffusers' conversion that is in the Hugging Face cache. A folder of weights that was named is the only place."""
    try:
        state, digest = official.load_official(checkpoint)
    except WeightsAbsent:
        path = official.in_hub_cache(checkpoint)
        if path is None:
            raise
        make = build_renderer if checkpoint == "vector_decoder" else partial(build_prior, checkpoint == "image_cond")
        state, digest = official.load_conversion(
            checkpoint, path, partial(_check_fit, path, partial(make, size=PUBLISHED))
        )
        return _without_tables(state), digest
    return (to_renderer(state) if checkpoint == "vector_decoder" else to_prior(state, PUBLISHED.heads)), digest


def _check_fit(path: Path, make: Callable[[], nn.Module], state: dict[str, Tensor]) -> None:
    """Before its hash is pinned, so that another network's file never is."""
    with torch.device("meta"):
        network = make()
    if wrong := misfits(network.state_dict(), _without_tables(state)):
        raise WeightsError(f"{path}: refused: not the {type(network).__name__} that it should be: {wrong}")


def _without_tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without diffusers' marching-cubes tables, which OpenAI's checkpoints lack."""
    return {name: value for name, value in state.items() if not name.startswith("mesh_decoder.")}


@torch.no_grad()
def calm(renderer: nn.Module) -> None:
    """Make the field of random weights as smooth as an object's, so that its mesh has about as many vertices.

    Projected matrices of unit variance would raise activations by the root of their width a layer, and the encoding's
    upper octaves would put a surface into every cell of the grid.
    """
    kept = torch.zeros(3 + 6 * ALL_OCTAVES, dtype=torch.bool)
    kept[encoding_columns(RANDOM_OCTAVES)] = True
    for name, projection in renderer.params_proj.projections.items():
        first = "__0__" in name
        scale = (int(kept.sum()) if first else projection.channels) ** -0.5
        share = kept.to(projection.norm.weight) * scale if first else scale
        projection.norm.weight.mul_(share)
        projection.norm.bias.mul_(share)
        projection.proj.bias.view(projection.vectors, projection.channels).mul_(share)
