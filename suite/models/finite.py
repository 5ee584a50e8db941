"""Numbers that are none: NaN and infinity, as half precision and broken weights give them."""

from __future__ import annotations

import torch
from torch import Tensor

FIELD = "values of its field"  # what a mesh's decoder counts


class NotFinite(ValueError):
    """An object, or what it was to be made of, holds NaN or infinity."""


def not_finite(values: Tensor, what: str) -> str | None:
    """How many of the values [N], or rows [N, ...], hold NaN or infinity, in words; None where none does."""
    finite = values.isfinite()
    broken = len(values) - int((finite.flatten(1).all(1) if values.ndim > 1 else finite).sum())
    return f"not finite: {broken:,} of {len(values):,} {what}" if broken else None


def bounded(values: Tensor, low: float, high: float) -> Tensor:
    """Within these limits. Infinity stays what it is: at the limit it would pass for a point of the object."""
    return torch.where(values.isfinite(), values.clamp(low, high), values)
