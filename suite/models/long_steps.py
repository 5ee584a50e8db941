"""Distilled diffusion networks: told how many evaluations the whole sampling has, they take steps as long as that.

One network for 1, 2, 4 and 8 evaluations, after Frans et al. 2024, "One Step Diffusion via Shortcut Models",
arXiv:2410.12557: the length of the step is a further condition, beside the time. Guidance is in the weights (Meng et al.
2022, "On Distillation of Guided Diffusion Models", arXiv:2210.03142), so that an evaluation has no doubled batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COUNTS = (1, 2, 4, 8)
"""Evaluations of a whole sampling that a distilled network is trained for, on "trailing" levels by Euler's method."""


class StepLength(nn.Module):
    """The time's embedding, and what is added to it for the length of the step. Starts as the embedding alone."""

    def __init__(self, embedding: nn.Module):
        super().__init__()
        self.embedding = embedding
        width = [part for part in embedding.modules() if isinstance(part, nn.Linear)][-1].out_features
        self.lengths = nn.Embedding(len(COUNTS), width)
        nn.init.zeros_(self.lengths.weight)
        self.register_buffer("row", torch.tensor(0), persistent=False)  # of each sample [B], or of all

    def forward(self, *arguments: Tensor) -> Tensor:
        embedded = self.embedding(*arguments)
        return embedded + self.lengths(self.row).to(embedded.dtype)


def with_step_length(network: nn.Module) -> nn.Module:
    """A point transformer or diffusers' PriorTransformer, changed in place to take the length of its steps."""
    name = "time_embed" if hasattr(network, "time_embed") else "time_embedding"
    setattr(network, name, StepLength(getattr(network, name)))
    return network


def set_evaluations(network: nn.Module, evaluations: int | Tensor) -> nn.Module:
    """Tell a distilled network how many evaluations its sampling has: one number, or one a sample [B].

    ValueError for a number that it was not trained for.
    """
    counts = torch.tensor(COUNTS)
    wanted = torch.as_tensor(evaluations)
    known = (wanted[..., None] == counts).any(-1)
    if not known.all():
        raise ValueError(f"evaluations: {wanted[~known].tolist()} is not possible; {', '.join(map(str, COUNTS))} are")
    (part,) = [part for part in network.modules() if isinstance(part, StepLength)]
    part.row = torch.searchsorted(counts, wanted).to(part.row.device)
    return network
