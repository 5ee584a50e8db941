"""diffusers' conversions in the Hugging Face cache count as official weights that are present."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from suite import weights
from suite.models.checkpoints import official
from suite.models.checkpoints.hub_cache import snapshot_of
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


# Caches that were filled by hand, or copied.


def staged(cache: Path, snapshot: str, time_s: int = 1) -> Path:
    """A file of a snapshot, as a link into the blobs."""
    root = cache.with_name("hub") / "models--openai--shap-e"
    path = root / "snapshots" / snapshot / "prior/diffusion_pytorch_model.safetensors"
    path.parent.mkdir(parents=True)
    blob = root / "blobs" / f"of-{snapshot}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(b"anything")
    os.utime(blob, (time_s, time_s))
    path.symlink_to(blob)
    return path


def refer(cache: Path, content: bytes | None) -> None:
    refs = cache.with_name("hub") / "models--openai--shap-e/refs"
    shutil.rmtree(refs, ignore_errors=True)
    if content is not None:
        refs.mkdir()
        (refs / "main").write_bytes(content)


REFERENCES = [b"0123abcd", b"0123abcd\n", b"  0123abcd \r\n", None, b"", b"moved-on", b"../../elsewhere", b"\xff\xfe"]


@pytest.mark.parametrize("content", REFERENCES)
def test_a_snapshot_is_found_whatever_the_cache_calls_main(cache, capsys, content):
    path = staged(cache, "0123abcd")
    (path.parents[2] / "moved-on").mkdir()  # a snapshot without the weights
    refer(cache, content)
    assert in_hub_cache("text_cond") == path
    assert weights.main(["list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("text_cond"))
    assert "in Hub's cache" in line and line.endswith("openai/shap-e, snapshot 0123abcd")


def test_main_is_taken_before_a_newer_snapshot_and_else_the_newest(cache):
    old, new = staged(cache, "old", time_s=1), staged(cache, "new", time_s=2)
    refer(cache, b"old\n")
    assert in_hub_cache("text_cond") == old
    refer(cache, None)
    assert in_hub_cache("text_cond") == new
    os.utime(old, (2, 2))
    assert in_hub_cache("text_cond") == old  # of the same time the last by name, always


def test_a_link_that_leads_nowhere_is_no_file(cache):
    old, new = staged(cache, "old", time_s=1), staged(cache, "new", time_s=2)
    refer(cache, b"new")
    new.resolve().unlink()
    assert in_hub_cache("text_cond") == old
    old.resolve().unlink()
    assert in_hub_cache("text_cond") is None


def test_a_file_in_the_place_of_the_snapshots_is_no_cache(cache):
    root = cache.with_name("hub") / "models--openai--shap-e"
    root.mkdir(parents=True)
    (root / "snapshots").write_text("")
    assert in_hub_cache("text_cond") is None and snapshot_of("openai/shap-e", "prior/x") is None
