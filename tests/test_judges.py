"""Judges by name: the embedded one, and OpenAI's CLIPs, here as small networks of the same kind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from suite.catalogue.judges import JUDGE_OF, JUDGES, NANO, SECOND_NANO
from suite.catalogue.models import MODELS
from suite.judging.scores import summarize
from suite.metrics import judges
from suite.metrics.judges import build_openai, load_judge, openai_captions, openai_views, recognizer
from suite.metrics.quality import Judge
from suite.models.checkpoints import official
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.models.checkpoints.official_files import OFFICIAL, OfficialFile
from suite.models.conditioning.clip import import_open_clip
from suite.names import UnknownName
from tests.test_prompts import coco, prompt_file  # noqa: F401 - fixtures

SIZE_PX = 48


def small_clip() -> torch.nn.Module:
    """OpenAI's architecture and vocabulary, 32 wide."""
    open_clip = import_open_clip()
    torch.manual_seed(0)
    made = open_clip.model.CLIP(
        embed_dim=16,
        quick_gelu=True,
        vision_cfg={"image_size": SIZE_PX, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    )
    return made.eval().requires_grad_(False)


@pytest.fixture
def weights(cache, monkeypatch) -> Path:
    """The small network's weights where the published ones would lie."""
    path = cache / "clip-vit-b-32.safetensors"
    save_file({name: value.contiguous() for name, value in small_clip().state_dict().items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = OfficialFile(name=path.name, url=OFFICIAL["clip-vit-b-32"].url, source="a test", sha256=digest)
    monkeypatch.setitem(OFFICIAL, "clip-vit-b-32", file)
    monkeypatch.setattr(judges, "build_openai", lambda name: {"ViT-B-32": small_clip}[name]())
    return path


def test_every_set_has_a_judge_that_exists_and_full_size_models_are_not_judged_by_what_conditions_them():
    assert set(JUDGE_OF) >= {model.prompts for model in MODELS.values()}
    assert set(JUDGE_OF.values()) <= set(JUDGES) == {NANO, SECOND_NANO, *judges.OPEN_CLIP}
    assert all(JUDGE_OF["coco"] not in files for files in official.MODEL_FILES.values())
    with pytest.raises(UnknownName, match="unknown judge.*clip-vit-b-32"):
        load_judge("clip-vit-b-16")


@pytest.mark.parametrize(("name", "parameters"), [("ViT-B-32", 151_277_313), ("ViT-L-14", 427_616_513)])
def test_openais_clips_have_their_published_sizes_and_activation(name, parameters):
    with torch.device("meta"):
        clip = build_openai(name)
    assert sum(p.numel() for p in clip.parameters()) == parameters
    kinds = {type(module).__name__ for module in clip.modules()}
    assert "QuickGELU" in kinds and "GELU" not in kinds


def test_views_are_prepared_as_openai_prepares_pictures():
    """At the judge's own size nothing is left of resizing and cropping but the mean and deviation."""
    clip = small_clip()
    picture = np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    prepared = import_open_clip().image_transform(SIZE_PX, is_train=False)(Image.fromarray(picture))
    expected = F.normalize(clip.encode_image(prepared[None]), dim=-1)
    views = torch.from_numpy(picture).permute(2, 0, 1)[None, None] / 255
    assert torch.allclose(openai_views(clip, views), expected, atol=1e-6)


def test_several_views_count_alike():
    clip = small_clip()
    views = torch.rand(2, 4, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    single = torch.stack([openai_views(clip, views[:, k : k + 1]) for k in range(4)], 1)
    assert torch.allclose(openai_views(clip, views), F.normalize(single.mean(1), dim=-1), atol=1e-6)


def test_captions_are_embedded_as_they_are_however_many_come_at_once(monkeypatch):
    clip, captions = small_clip(), [f"a picture of {k} cats" for k in range(10)] + ["very " * 100 + "long", "", "cats"]
    expected = F.normalize(clip.encode_text(import_open_clip().tokenize(captions)), dim=-1)
    monkeypatch.setattr(judges, "TEXTS", 4)
    made = openai_captions(clip, captions)
    assert torch.allclose(made, expected, atol=1e-6) and made[0] @ made[1] < 0.99999


def test_a_published_judge_is_loaded_from_its_checked_file(weights):
    judge = load_judge("clip-vit-b-32")
    assert judge.name == f"clip-vit-b-32:{hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"
    assert judge.size_px == SIZE_PX and not any(p.requires_grad for p in judge.clip.parameters())
    views = torch.rand(1, 4, 3, SIZE_PX, SIZE_PX)
    assert torch.equal(judge.views(views), recognizer("x", small_clip()).views(views))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="altered or truncated"):
        load_judge("clip-vit-b-32")
    weights.unlink()
    with pytest.raises(WeightsAbsent, match="fetch clip-vit-b-32"):
        load_judge("clip-vit-b-32")


# The whole judge.


def objects(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    clouds = torch.rand(count, 500, 6, generator=generator)
    clouds[..., :3] = (clouds[..., :3] - 0.5) * torch.rand(count, 1, 3, generator=generator) * 2
    return clouds


def by_hand(judge: Judge, clouds: torch.Tensor, prompts: list[str], captions: list[str]) -> list[tuple[int, float]]:
    """Rank and lead of each object's own caption among the other captions, one object and one caption at a time."""
    from suite.scenes.renderer import judge_views

    ranks, clip = [], judge.clip
    for cloud, own in zip(clouds, prompts):
        picture = openai_views(clip, judge_views(cloud[None], size_px=SIZE_PX))[0]
        score = {caption: float(picture @ openai_captions(clip, [caption])[0]) for caption in {own, *captions}}
        others = [score[caption] for caption in captions if caption != own]
        ranks.append((sum(other >= score[own] for other in others), score[own] - max(others)))
    return ranks


def test_a_coco_object_is_ranked_as_by_hand(coco, weights):
    judge = Judge("coco")
    clouds, prompts = objects(3), judge.prompts[:3]
    outcomes = judge.score(clouds, prompts)
    expected = by_hand(judge, clouds, prompts, judge.prompts)
    assert [o.rank_153 for o in outcomes] == [rank for rank, _ in expected]
    assert [o.margin_153 for o in outcomes] == pytest.approx([lead for _, lead in expected], abs=1e-4)
    assert all(0 <= o.rank_153 <= 152 and o.chamfer is None for o in outcomes)
    assert all(o.rank_3001 is None and o.margin_3001 is None for o in outcomes)
    assert summarize(judge.name, outcomes).r_precision_3001 is None
    assert judge.name.startswith("clip-vit-b-32:")


def test_a_users_prompts_are_ranked_by_the_judge_of_the_models_set(tmp_path):
    file = prompt_file(tmp_path, "a red cube\na large blue ball\n")
    judge = Judge("embedded", file=file)
    assert judge.prompts == ["a red cube", "a large blue ball"] and judge.name.startswith("clip-nano-judge:")
    assert judge.gallery_sha256 != Judge().gallery_sha256
    from suite.scenes.captions import all_scenes
    from suite.scenes.shapes import SceneTable

    scenes = {scene.caption: scene for scene in all_scenes()}
    table = SceneTable([scenes[prompt] for prompt in judge.prompts])
    clouds = table.clouds(torch.arange(2), 256, torch.Generator().manual_seed(0))[0]
    outcomes = judge.score(clouds, judge.prompts)
    assert [o.rank_153 for o in outcomes] == [0, 0] and all(o.chamfer < 0.1 for o in outcomes)
    assert all(o.rank_153 > 0 for o in judge.score(clouds.flip(0), judge.prompts))


def test_another_judge_is_told_by_its_name(weights, tmp_path):
    judge = Judge("embedded", judge="clip-vit-b-32", file=prompt_file(tmp_path, "a red cube\n"))
    assert judge.name.startswith("clip-vit-b-32:")
    (outcome,) = judge.score(objects(1), judge.prompts)
    assert outcome.rank_153 <= outcome.rank_3001 <= 3000 and outcome.margin_3001 <= outcome.margin_153
