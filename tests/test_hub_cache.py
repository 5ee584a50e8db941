"""diffusers' conversions in the Hugging Face cache count as official weights that are present."""

from __future__ import annotations

from pathlib import Path

from suite.models.checkpoints import official
from suite.models.checkpoints.official import in_hub_cache, why_absent
from suite.models.checkpoints.official_files import OFFICIAL


def hub_file(cache: Path, repository: str, folder: str) -> Path:
    """A file in the Hugging Face cache, as that lies on a disk: a revision's name, and its snapshot."""
    root = cache.with_name("hub") / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs/main").write_text("0123abcd")
    path = root / "snapshots/0123abcd" / folder / "diffusion_pytorch_model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"anything")
    return path


def test_diffusers_conversions_in_the_hubs_cache_count_as_present(cache):
    every = "python -m suite.weights fetch shap-e-300m-text`"
    assert every in why_absent("shap-e-300m-text")
    prior = hub_file(cache, "openai/shap-e", "prior")
    assert in_hub_cache("text_cond") == prior and in_hub_cache("sdf") is None
    assert why_absent("shap-e-300m-text").endswith("fetch clip-vit-l-14 vector_decoder`")  # not what is here
    hub_file(cache, "openai/shap-e", "shap_e_renderer")
    reason = why_absent("shap-e-300m-text")
    assert reason.startswith("clip-vit-l-14.safetensors not on") and reason.endswith("fetch clip-vit-l-14`")
    (cache / OFFICIAL["clip-vit-l-14"].name).write_bytes(b"anything")
    assert why_absent("shap-e-300m-text") is None
    assert why_absent("shap-e-300m-image").endswith("fetch image_cond`")
    prior.unlink()
    assert why_absent("shap-e-300m-text").endswith("fetch text_cond`")


def test_a_given_folder_is_not_completed_from_the_hubs_cache(cache, tmp_path, monkeypatch):
    for folder in ("prior", "shap_e_renderer"):
        hub_file(cache, "openai/shap-e", folder)
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv(official.GIVEN_VARIABLE, str(given))
    assert f"{given} lacks clip-vit-l-14.safetensors, text_cond.pt, vector_decoder.pt" in why_absent("shap-e-300m-text")
