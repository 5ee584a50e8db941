"""OpenAI's Shap-E checkpoints in the layout of diffusers' networks.

The same numbers under other names, but for two things: OpenAI keeps query, key and value in one matrix, interleaved by
head; and diffusers' prior has a mean and a deviation of latents, which OpenAI's networks do without.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from suite.models.checkpoints.embedded import WeightsError

PRIOR = {
    "time_embed.c_fc": "time_embedding.linear_1",
    "time_embed.c_proj": "time_embedding.linear_2",
    "input_proj": "proj_in",
    "clip_embed": "embedding_proj",  # of the text network
    "clip_embed.0": "embedding_proj_norm",  # of the image network, with the next
    "clip_embed.1": "embedding_proj",
    "ln_pre": "norm_in",
    "ln_post": "norm_out",
    "output_proj": "proj_to_clip_embeddings",
}
BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm3",
    "attn.c_proj": "attn1.to_out.0",
    "mlp.c_fc": "ff.net.0.proj",
    "mlp.c_proj": "ff.net.2",
}


def to_prior(official: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """`text_cond` or `image_cond` -> the state of a PriorTransformer. WeightsError names keys that have no place."""
    made: dict[str, Tensor] = {}
    for key, value in _without_prefix(official, "wrapped.").items():
        layer, _, part = key.rpartition(".")
        if key == "pos_emb":
            made["positional_embedding"] = value[None]
        elif layer in PRIOR:
            made[f"{PRIOR[layer]}.{part}"] = value
        elif key.startswith("backbone.resblocks."):
            made |= _block(key, value, heads)
        else:
            raise WeightsError(f"no place for {key!r} in Shap-E's diffusion network")
    if (bias := made.get("proj_to_clip_embeddings.bias")) is None:
        raise WeightsError("these weights lack 'output_proj.bias': they are no diffusion network of Shap-E")
    return made | {"clip_mean": torch.zeros_like(bias)[None], "clip_std": torch.ones_like(bias)[None]}


def _block(key: str, value: Tensor, heads: int) -> dict[str, Tensor]:
    _, _, index, *names, part = key.split(".")
    layer = ".".join(names)
    block = f"transformer_blocks.{index}"
    if layer in BLOCK:
        return {f"{block}.{BLOCK[layer]}.{part}": value}
    if layer != "attn.c_qkv":
        raise WeightsError(f"no place for {key!r} in Shap-E's diffusion network")
    by_head = value.view(heads, 3, -1, *value.shape[1:])  # rows: head, then which of the three, then channel
    return {f"{block}.attn1.to_{name}.{part}": by_head[:, n].flatten(0, 1) for n, name in enumerate("qkv")}


def from_prior(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The inverse of `to_prior`."""
    pictures = "embedding_proj_norm.weight" in state
    names = {ours: theirs for theirs, ours in PRIOR.items() if theirs != ("clip_embed" if pictures else "clip_embed.1")}
    block_names = {ours: theirs for theirs, ours in BLOCK.items()}
    made = {"wrapped.pos_emb": state["positional_embedding"][0]}
    for key, value in state.items():
        layer, _, part = key.rpartition(".")
        if layer in names:
            made[f"wrapped.{names[layer]}.{part}"] = value
        elif key.startswith("transformer_blocks."):
            _, index, layer = layer.split(".", 2)
            block = f"wrapped.backbone.resblocks.{index}"
            if layer in block_names:
                made[f"{block}.{block_names[layer]}.{part}"] = value
            elif layer == "attn1.to_q":
                three = [state[key.replace("to_q", f"to_{name}")] for name in "qkv"]
                by_head = [one.view(heads, 1, -1, *one.shape[1:]) for one in three]
                made[f"{block}.attn.c_qkv.{part}"] = torch.cat(by_head, dim=1).flatten(0, 2)
    return made


def from_renderer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_renderer`."""
    return {key if key.startswith("params_proj.") else _renderers(key): value for key, value in state.items()}


def _renderers(key: str) -> str:
    return key.replace("mlp.", "renderer.nerstf.", 1) if key.startswith("mlp.") else f"renderer.{key}"


def to_renderer(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`vector_decoder` -> the state of a ShapERenderer, without diffusers' marching-cubes tables."""
    made: dict[str, Tensor] = {}
    for key, value in official.items():
        if key.startswith("params_proj.") or key == "renderer.void.background":
            made[key.removeprefix("renderer.")] = value
        elif key.startswith("renderer.nerstf.mlp."):
            made[key.replace("renderer.nerstf.", "mlp.", 1)] = value
        else:
            raise WeightsError(f"no place for {key!r} in Shap-E's decoder")
    return made


def _without_prefix(official: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    wrong = [key for key in official if not key.startswith(prefix)]
    if wrong:
        raise WeightsError(f"{wrong[0]!r} is no key of Shap-E's diffusion network: each begins with {prefix!r}")
    return {key.removeprefix(prefix): value for key, value in official.items()}
