"""The embedded CLIPs by a network of ours, and OpenAI's through open_clip, which is imported only for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.clip_convolutional import ConvolutionalClip
from suite.models.conditioning.clip_network import Clip
from suite.scenes.tokenizer import tokenize

EMBEDDED_CONFIG = Path(__file__).parents[2] / "embedded" / "clip-nano.json"


def import_open_clip() -> ModuleType:
    """open_clip, also where torchvision's compiled part does not load."""
    import_torchvision()
    import open_clip

    return open_clip


def import_torchvision() -> None:
    """Before open_clip, or before diffusers' networks, which need it too: also where its compiled part does not load.

    A torchvision from the registry beside a CPU-only or vendor torch fails at import with "operator
    torchvision::nms does not exist". Only its Python transforms are needed here, so the two operator
    schemas that its import looks up are declared first, and only when the compiled part is absent.
    """
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError, OSError) as error:
        if "nms" not in str(error) and not isinstance(error, OSError):
            raise
        _declare_torchvision_operators()


_declared: list[torch.library.Library] = []  # a Library's operators vanish with it


def _declare_torchvision_operators() -> None:
    if _declared:  # an import that failed after all may be tried again
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def build_clip_nano() -> Clip:
    """The embedded CLIP (ViT 64 px / patch 8, 128 wide) with fresh weights."""
    return Clip(**json.loads(EMBEDDED_CONFIG.read_text()))


NETWORKS = {"clip-nano-second-judge": ConvolutionalClip}  # of embedded CLIPs that have another


OPEN_CLIP = {"clip-vit-b-32": "ViT-B-32", "clip-vit-l-14": "ViT-L-14"}  # open_clip's names


def build_openai(name: str) -> nn.Module:
    """A CLIP of OpenAI's in its own QuickGELU form, float32, with fresh weights."""
    open_clip = import_open_clip()
    return open_clip.model.CLIP(**open_clip.get_model_config(name), quick_gelu=True)


def checkpoint_layout(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of one of OpenAI's checkpoints by their keys, without memory."""
    with torch.device("meta"):
        return build_openai(OPEN_CLIP[checkpoint]).state_dict()


def load_clip(clip: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill a CLIP with weights. Only its causal mask, which is no weight, may lack; else ValueError names the keys."""
    outcome = clip.load_state_dict(weights, strict=False)
    missing = sorted(set(outcome.missing_keys) - {"attn_mask"})
    wrong = [f"missing {', '.join(missing)}"] * bool(missing)
    wrong += [f"unknown {', '.join(sorted(outcome.unexpected_keys))}"] * bool(outcome.unexpected_keys)
    if wrong:
        raise ValueError(f"these weights do not fit the CLIP: {'; '.join(wrong)}")


def load_clip_nano(name: str = "clip-nano") -> Clip | ConvolutionalClip:
    """An embedded CLIP with its weights, for inference."""
    return filled(name, load_embedded(name)[0])


def filled(name: str, weights: Mapping[str, Tensor]) -> Clip | ConvolutionalClip:
    """An embedded CLIP with these weights, for inference."""
    clip = NETWORKS.get(name, build_clip_nano)()
    load_clip(clip, weights)
    return clip.eval().requires_grad_(False)


@torch.inference_mode()
def embed_captions(clip: Clip | ConvolutionalClip, captions: list[str]) -> Tensor:
    """Unit vectors of captions of the embedded grammar [B, width]."""
    chunks = [captions[k : k + 512] for k in range(0, len(captions), 512)]
    return torch.cat([F.normalize(clip.encode_text(tokenize(chunk)), dim=-1) for chunk in chunks])


def embed_views(clip: Clip | ConvolutionalClip, views: Tensor) -> Tensor:
    """Pictures [B, V, 3, H, W] (fractions 0–1) -> unit vectors [B, width]: the mean of the views' unit vectors."""
    batch, count = views.shape[:2]
    vectors = F.normalize(clip.encode_image(views.flatten(0, 1) * 2 - 1), dim=-1)
    return F.normalize(vectors.view(batch, count, -1).mean(1), dim=-1)
