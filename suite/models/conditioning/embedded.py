"""From a prompt to what a 3D network is conditioned on: the text's CLIP vector, or the tokens of a picture of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.conditioning.clip import load_clip_nano
from suite.models.conditioning.clip_features import image_tokens, text_tokens
from suite.models.pipeline import Stage
from suite.models.sampling.noise import PromptNoise
from suite.scenes.tokenizer import tokenize


@dataclass
class TextVector:
    """Prompts -> unit CLIP vectors [B, width]."""

    networks: dict[str, nn.Module]
    device: torch.device
    stages: tuple[str, ...] = ("text encoder",)

    def __call__(self, prompts: list[str], sample: int, stage: Stage) -> Tensor:
        with stage("text encoder"):
            tokens = tokenize(prompts).to(self.device)
            return F.normalize(self.networks["text encoder"].encode_text(tokens).float(), dim=-1)


@dataclass
class PictureTokens:
    """Prompts -> pictures by a text-to-image pipeline -> CLIP image tokens [B, tokens, width]."""

    model: str
    networks: dict[str, nn.Module]
    device: torch.device
    paint: object  # suite.models.conditioning.text_to_image.NanoTextToImage
    steps: int = 16  # of the text-to-image stage; recipes with fewer steps mean the 3D stages
    stages: tuple[str, ...] = field(default=("text encoder", "text-to-image", "image encoder"))

    def __call__(self, prompts: list[str], sample: int, stage: Stage) -> Tensor:
        pictures = self.pictures(prompts, sample, stage)
        with stage("image encoder"):
            return self.encode(pictures)

    def pictures(self, prompts: list[str], sample: int, stage: Stage) -> Tensor:
        """[B, 3, 32, 32], fractions 0–1."""
        from suite.models.conditioning.text_to_image import NANO_SIZE_PX

        with stage("text encoder"):
            states = text_tokens(self.networks["text encoder"], tokenize(prompts).to(self.device))
        with stage("text-to-image"):
            noise = PromptNoise(self.model, prompts, (3, NANO_SIZE_PX, NANO_SIZE_PX), sample, "text-to-image")
            return self.paint(states, noise.start().to(self.device), self.steps)

    def encode(self, pictures: Tensor) -> Tensor:
        return image_tokens(self.networks["image encoder"], enlarged(pictures)).float()


class Conditioned:
    """Pipelines that begin with a condition, which may be tokens of pictures."""

    condition: object

    @property
    def picture_steps(self) -> int:
        """Of the text-to-image stage. AttributeError where there is none whose steps can be chosen."""
        return self._painting.steps

    @picture_steps.setter
    def picture_steps(self, steps: int) -> None:
        self._painting.steps = steps

    @property
    def _painting(self) -> PictureTokens:
        if not isinstance(self.condition, PictureTokens):
            raise AttributeError("picture_steps: no text-to-image stage whose steps can be chosen")
        return self.condition


def enlarged(pictures: Tensor) -> Tensor:
    """The text-to-image network's pictures at the embedded CLIP's 64 pixels."""
    return F.interpolate(pictures, scale_factor=2, mode="bilinear", align_corners=False)


def text_condition(device: torch.device) -> TextVector:
    """The embedded CLIP's text side, with its weights."""
    clip = load_clip_nano()
    del clip.visual
    return TextVector({"text encoder": clip.to(device)}, device)


def picture_condition(model: str, device: torch.device) -> tuple[PictureTokens, str]:
    """The embedded text-to-image network between the embedded CLIP's two sides, and the network's hash."""
    from suite.models.conditioning.text_to_image import load_nano_text_to_image

    clip, (paint, digest) = load_clip_nano().to(device), load_nano_text_to_image(device)
    visual = clip.visual
    del clip.visual
    networks = {"text encoder": clip, "text-to-image": paint.transformer, "image encoder": visual}
    return PictureTokens(model, networks, device, paint), digest
