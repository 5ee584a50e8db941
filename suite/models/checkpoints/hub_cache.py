"""diffusers' conversions of OpenAI's Shap-E, where the Hugging Face cache of this machine has them. Without torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

CONVERSIONS = {
    "text_cond": ("openai/shap-e", "prior"),
    "image_cond": ("openai/shap-e-img2img", "prior"),
    "vector_decoder": ("openai/shap-e", "shap_e_renderer"),
}
"""By OpenAI's name of a checkpoint: the repository and the folder in it."""


def cached(checkpoint: str) -> Path | None:
    """Where the conversion of a checkpoint is; nothing is downloaded."""
    repository, folder = CONVERSIONS[checkpoint]
    return find(repository, f"{folder}/diffusion_pytorch_model.safetensors")


def snapshot_of(repository: str, file: str) -> Path | None:
    """The folder of the snapshot that has the file: the one that the cache calls `main`, else the one whose file is the
    newest.

    A cache that was filled by hand or copied may have no name for a snapshot, or name one whose files are elsewhere.
    """
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        snapshots = [folder for folder in (root / "snapshots").iterdir() if (folder / file).is_file()]
    except OSError:
        return None
    main = _main(root)
    return max(snapshots, key=partial(_rank, file, main), default=None)


def _rank(file: str, main: str, snapshot: Path) -> tuple[bool, int, str]:
    return snapshot.name == main, (snapshot / file).stat().st_mtime_ns, snapshot.name


def find(repository: str, file: str) -> Path | None:
    """A link into the cache's blobs that leads nowhere is no file."""
    snapshot = snapshot_of(repository, file)
    return None if snapshot is None else snapshot / file


def snapshot_name(path: Path) -> str:
    """Of a file in the cache: the snapshot that it is in."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else path.name


def _main(root: Path) -> str:
    try:
        return (root / "refs" / "main").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
