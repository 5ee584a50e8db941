"""Start and churn noise of protocol, model, prompt and sample alone: the same for any batch, step count or device."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from suite.records import PROTOCOL


def generator(purpose: str, model: str, prompt: str, sample: int) -> torch.Generator:
    """A CPU generator seeded by a hash, so that every configuration of a model starts a prompt from the same noise."""
    key = "\0".join((PROTOCOL, purpose, model, prompt, str(sample)))
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1)


class PromptNoise:
    """The noise of a batch of prompts, float32: start noise [B, *shape], and churn noise drawn step by step from
    generators of its own, so that a recipe with fewer steps still starts from the same place."""

    def __init__(self, model: str, prompts: list[str], shape: tuple[int, ...], sample: int = 0, stage: str = ""):
        self.shape = shape
        self._churn = [generator(f"churn {stage}", model, prompt, sample) for prompt in prompts]
        self._start = [generator(f"start {stage}", model, prompt, sample) for prompt in prompts]

    def start(self) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=g) for g in self._start])

    def churn(self, step: int) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=g) for g in self._churn])
