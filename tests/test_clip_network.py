"""The embedded CLIP's network against open_clip's, which it stands in for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.clip import EMBEDDED_CONFIG, build_clip_nano, import_open_clip, load_clip
from suite.models.conditioning.clip_features import image_tokens, text_tokens
from suite.models.conditioning.clip_network import Clip
from suite.scenes.captions import all_scenes
from suite.scenes.tokenizer import tokenize

ROOT = Path(__file__).parents[1]
CLOSE = dict(rtol=0, atol=1e-6)


def open_clips() -> nn.Module:
    return import_open_clip().model.CLIP(**json.loads(EMBEDDED_CONFIG.read_text()))


@pytest.fixture(scope="module", params=["clip-nano", "clip-nano-judge"])
def both(request) -> tuple[Clip, nn.Module]:
    """Ours and open_clip's, with the committed weights."""
    ours, theirs = build_clip_nano(), open_clips()
    for clip in (ours, theirs):
        load_clip(clip, load_embedded(request.param)[0])
        clip.eval().requires_grad_(False)
    return ours, theirs


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return tokenize([scene.caption for scene in all_scenes()[::500]])


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_from_a_seed_it_begins_with_open_clips_weights():
    """So that the recipe of the committed weights makes them still."""
    torch.manual_seed(1)
    ours = build_clip_nano().state_dict()
    torch.manual_seed(1)
    theirs = open_clips().state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_texts_and_pictures_have_open_clips_vectors(both, tokens, pictures):
    ours, theirs = both
    assert len(tokens) > 30
    torch.testing.assert_close(ours.encode_text(tokens), theirs.encode_text(tokens), **CLOSE)
    torch.testing.assert_close(ours.encode_image(pictures), theirs.encode_image(pictures), **CLOSE)


def test_trained_in_bfloat16_it_has_open_clips_gradients(tokens, pictures):
    """As its recipe trains it, under autocast and with gradients: other code than inference takes."""

    def gradients(clip: nn.Module) -> dict[str, torch.Tensor]:
        load_clip(clip, load_embedded("clip-nano")[0])
        with torch.autocast("cpu", torch.bfloat16):
            image, text = clip.encode_image(pictures).float(), clip.encode_text(tokens[: len(pictures)]).float()
        likeness = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        F.cross_entropy(likeness, torch.arange(len(pictures))).backward()
        return {name: p.grad for name, p in clip.named_parameters() if p.grad is not None}

    ours, theirs = gradients(build_clip_nano()), gradients(open_clips())
    assert ours.keys() == theirs.keys() and len(ours) > 70
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], **CLOSE, msg=name)


def test_what_image_and_text_conditional_networks_see_is_open_clips(both, tokens, pictures):
    ours, theirs = both
    told = theirs.visual.forward_intermediates(
        pictures * 2 - 1, indices=2, output_extra_tokens=True, normalize_intermediates=False
    )
    vector = F.normalize(told["image_features"], dim=-1) * 128**0.5
    seen = [F.avg_pool2d(told["image_intermediates"][0], 2).flatten(2).transpose(1, 2)]
    seen += [told["image_intermediates_prefix"][0], vector[:, None]]
    torch.testing.assert_close(image_tokens(ours.visual, pictures), torch.cat(seen, dim=1), rtol=0, atol=1e-5)

    states = theirs.ln_final(
        theirs.transformer(theirs.token_embedding(tokens) + theirs.positional_embedding, attn_mask=theirs.attn_mask)
    )
    vector = F.normalize(theirs.encode_text(tokens), dim=-1) * 128**0.5
    known = torch.cat([states, vector[:, None]], dim=1)
    torch.testing.assert_close(text_tokens(ours, tokens), known, rtol=0, atol=1e-5)


def test_neither_an_embedded_model_nor_its_judge_imports_open_clip():
    """A worker's process takes half the time to begin, and a third less memory."""
    script = """
import suite.worker.preload
import sys, torch
from suite.configurations import find
from suite.building import build
from suite.metrics.cost import object_counts
from suite.metrics.judges import load_judge
made = build(find("point-e-nano-text/steps-4@cpu"), "embedded", torch.device("cpu"))
made.generate(["a red cube"])
object_counts(made, "a red cube")
load_judge("clip-nano-judge").captions(["a red cube"])
print([name for name in ("open_clip", "torchvision", "timm", "torch._dynamo", "sympy") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1:] == ["[]"], run.stdout + run.stderr[-3000:]


def test_what_a_worker_imports_before_it_reads_memory_has_all_that_its_model_and_recipe_need():
    """A compiler or a CLIP that came later would count as the model's memory."""
    script = """
import importlib, sys
from suite.configurations import find
for cell in sys.argv[1:]:
    configuration = find(cell)
    for name in (*configuration.model.modules, *configuration.optimization.modules):
        importlib.import_module(name)
    print([name for name in ("open_clip", "torch._dynamo") if name in sys.modules])
"""
    cells = ["point-e-nano-text/fp32@cpu", "point-e-nano-text/compile@cpu", "point-e-40m-text/fp32@cpu"]
    command = [sys.executable, "-c", script, *cells]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == ["[]", "['torch._dynamo']", "['open_clip', 'torch._dynamo']"], run.stderr[-3000:]
