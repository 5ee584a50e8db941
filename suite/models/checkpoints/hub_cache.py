"""diffusers' conversions of OpenAI's Shap-E, where the Hugging Face cache of this machine has them. Without torch."""

from __future__ import annotations

from pathlib import Path

CONVERSIONS = {
    "text_cond": ("openai/shap-e", "prior"),
    "image_cond": ("openai/shap-e-img2img", "prior"),
    "vector_decoder": ("openai/shap-e", "shap_e_renderer"),
}
"""By OpenAI's name of a checkpoint: the repository and the folder in it."""


def cached(checkpoint: str) -> Path | None:
    """Where the conversion of a checkpoint is; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    repository, folder = CONVERSIONS[checkpoint]
    found = try_to_load_from_cache(repository, f"{folder}/diffusion_pytorch_model.safetensors")
    return Path(found) if isinstance(found, str) else None
