"""The embedded Shap-E's networks, from diffusers' parts."""

from __future__ import annotations

import torch

from suite.models.conditioning.clip import import_torchvision
from suite.models.shap_e.field import ALL_OCTAVES, encoding_columns

import_torchvision()  # declares what a torchvision without its compiled part lacks, which diffusers asks for

from diffusers import PriorTransformer  # noqa: E402
from diffusers.pipelines.shap_e.renderer import ShapERenderer  # noqa: E402

VECTORS, D_LATENT = 128, 16  # 64 rows of each of two weight matrices
TOKENS, TOKEN_WIDTH = 32, 64  # the same 2,048 numbers as the prior sees them
NANO_OCTAVES = 6


def build_nano_renderer() -> ShapERenderer:
    """Latent -> field, with fresh weights: 64 wide, five layers of which the first two come from the latent."""
    renderer = ShapERenderer(
        param_names=("nerstf.mlp.0.weight", "nerstf.mlp.1.weight"),
        param_shapes=((64, 93), (64, 64)),
        d_latent=D_LATENT,
        d_hidden=64,
        n_hidden_layers=4,
        insert_direction_at=None,
    )
    # The encoding's upper octaves would be noise here; at zero they stay zero, since nothing asks them.
    unused = torch.ones(3 + 6 * ALL_OCTAVES, dtype=torch.bool)
    unused[encoding_columns(NANO_OCTAVES)] = False
    first = renderer.params_proj.projections["nerstf__mlp__0__weight"]
    with torch.no_grad():
        first.norm.weight[unused] = 0
        first.norm.bias[unused] = 0
        first.proj.bias.view(first.vectors, first.channels)[:, unused] = 0
    return renderer


def build_nano_prior(pictures: bool = False) -> PriorTransformer:
    """A CLIP vector [B, 128], or for `pictures` image tokens [B, 18, 128] (normalized, as in the published network),
    and a noisy latent -> v of the latent; fresh weights."""
    return PriorTransformer(
        num_attention_heads=3,
        attention_head_dim=64,
        num_layers=4,
        embedding_dim=TOKEN_WIDTH,
        num_embeddings=TOKENS,
        additional_embeddings=0,
        time_embed_act_fn="gelu",
        norm_in_type="layer",
        encoder_hid_proj_type=None,
        added_emb_type=None,
        embedding_proj_dim=128,
        clip_embed_dim=TOKEN_WIDTH,
        embedding_proj_norm_type="layer" if pictures else None,
    )
