"""Which tensors a published checkpoint holds: those of the network that it is for, which is built without memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from suite.models.checkpoints.official_files import OfficialFile
from suite.names import resolve

if TYPE_CHECKING:
    from torch import Tensor

POINT_E = "suite.models.point_e.full_size:checkpoint_layout"
SHAP_E = "suite.models.shap_e.full_size:checkpoint_layout"
CLIP = "suite.models.conditioning.clip:checkpoint_layout"
LAYOUTS = {
    "base_40m": POINT_E,
    "base_40m_textvec": POINT_E,
    "base_40m_imagevec": POINT_E,
    "base_40m_uncond": POINT_E,
    "base_300m": POINT_E,
    "base_1b": POINT_E,
    "upsample_40m": POINT_E,
    "sdf": POINT_E,
    "text_cond": SHAP_E,
    "image_cond": SHAP_E,
    "vector_decoder": SHAP_E,
    "transmitter": SHAP_E,
    "clip-vit-b-32": CLIP,
    "clip-vit-l-14": CLIP,
}
"""By the file: what gives a network's tensors, by the keys of the file, as `maker(stem)`. Named and not imported, since
these modules read checkpoints themselves."""

PARTS = {"transmitter": "encoder."}
"""Keys of a file whose network is not built here."""


def misfit(file: OfficialFile, state: Mapping[str, Tensor]) -> str:
    """What keeps a state from being the file's network, by key; empty when nothing does."""
    if file.stem not in LAYOUTS:
        return ""
    apart = PARTS.get(file.stem)
    known = {key: value for key, value in state.items() if apart is None or not key.startswith(apart)}
    return misfits(resolve(LAYOUTS[file.stem])(file.stem), known)


def misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor], strict: bool = True) -> str:
    """What keeps a state from being a network's own, by key; empty when nothing does."""
    shared = sorted(own.keys() & state.keys())
    sizes = [
        f"{key} is {[*state[key].shape]}, expected {[*own[key].shape]}"
        for key in shared
        if state[key].shape != own[key].shape
    ]
    kinds = [
        f"{key} is {state[key].dtype}"
        for key in shared
        if state[key].is_floating_point() != own[key].is_floating_point()
    ]
    found = {
        "missing ": sorted(own.keys() - state.keys()),
        "unknown ": sorted(state.keys() - own.keys()) if strict else [],
        "size mismatch: ": sizes,
        "another kind of number: ": kinds,
    }
    return "; ".join(what + _some(keys) for what, keys in found.items() if keys)


def _some(words: list[str], count: int = 3) -> str:
    more = f" and {len(words) - count} more" if len(words) > count else ""
    return ", ".join(words[:count]) + more
