"""OpenAI's CLIP ViT-L/14, by which the published networks are conditioned: its two sides apart, since a text pipeline
needs 124 M parameters of it and an image pipeline the other 304 M. Through open_clip, in OpenAI's QuickGELU form."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn

from suite.models.checkpoints.networks import FullSizeWeights
from suite.models.conditioning.clip import OPEN_CLIP, build_openai, import_open_clip

CHECKPOINT = "clip-vit-l-14"
CONTEXT_TOKENS = 77
VECTOR_WIDTH, GRID_WIDTH, GRID_TOKENS, PICTURE_PX = 768, 1024, 256, 224


def build_clip_large() -> nn.Module:
    return build_openai(OPEN_CLIP[CHECKPOINT])


def _text_side() -> nn.Module:
    clip = build_clip_large()
    del clip.visual
    return clip


def load_text_side(weights: FullSizeWeights) -> nn.Module:
    mask = torch.full((CONTEXT_TOKENS, CONTEXT_TOKENS), float("-inf")).triu(1)
    return weights.network(CHECKPOINT, _text_side, dtype=torch.float32, buffers={"attn_mask": mask}, strict=False)


def load_image_side(weights: FullSizeWeights) -> nn.Module:
    return weights.network(CHECKPOINT, lambda: build_clip_large().visual, dtype=torch.float32, prefix="visual.")


def text_vectors(clip: nn.Module, prompts: list[str], device: torch.device) -> Tensor:
    """Unit vectors [B, 768]; a prompt longer than the context is cut, as in the original."""
    tokens = import_open_clip().tokenize(prompts).to(device)
    return F.normalize(clip.encode_text(tokens).float(), dim=-1)


def picture_features(visual: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Prepared pictures [B, 3, 224, 224] -> the grid's tokens [B, 256, 1024] and unit vectors [B, 768], float32.

    The grid is the last layer's output as it is: without the final LayerNorm, and without the class token.
    """
    made = visual.forward_intermediates(pixels, indices=1, output_fmt="NLC", normalize_intermediates=False)
    return made["image_intermediates"][0].float(), F.normalize(made["image_features"].float(), dim=-1)


def prepare(pictures: list[Image]) -> Tensor:
    """OpenAI's own: the shorter side to 224 pixels (bicubic), the middle of it, CLIP's mean and deviation."""
    return torch.stack([_preprocess()(picture) for picture in pictures])


@lru_cache(maxsize=1)
def _preprocess():
    return import_open_clip().image_transform(PICTURE_PX, is_train=False)
