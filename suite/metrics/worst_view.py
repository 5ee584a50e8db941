"""The worst of the views beside their mean: an object may be right from one side and wrong from another.

R-Precision takes the mean of the views' vectors (`suite.metrics.quality`), which one good side can carry: the "Janus"
objects of text-to-3D (DreamFusion, Poole et al. 2023, arXiv:2209.14988) have such sides. Here each view is asked alone.
"""

from __future__ import annotations

from torch import Tensor


def worst_margin(views: Tensor, own: Tensor, captions: Tensor) -> float:
    """An object's own caption's least lead over the best other caption, of all its views.

    views: unit vectors [V, width]; own: of its own caption [width]; captions: of the others [C, width].
    """
    return (views @ own - (views @ captions.T).amax(1)).amin().item()
