"""open_clip beside a torchvision that does not load, and the embedded CLIP's sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.clip import EMBEDDED_CONFIG, build_clip_nano, embed_views, load_clip
from suite.scenes.tokenizer import CONTEXT, END, VOCABULARY, tokenize

ROOT = Path(__file__).parents[1]

# Where torchvision loads, its compiled part is hidden as if another torch had been installed beside it.
BREAK_TORCHVISION = """
import importlib.machinery, sys
try:
    import torchvision
    loads = True
except Exception as error:
    loads = False
for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
    del sys.modules[name]
if loads:
    import os
    os.execv(sys.executable, [sys.executable, "-c", '''
import importlib.util, torch
find = importlib.util.find_spec
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision._C":
            raise ImportError("hidden: built for another torch")
import sys
sys.meta_path.insert(0, Broken())
load = torch.ops.load_library
def refuse(path):
    if "torchvision" in str(path) or "_C" in str(path):
        raise OSError("hidden: built for another torch")
    return load(path)
torch.ops.load_library = refuse
''' + sys.argv[1], "again"])
else:
    exec(sys.argv[1])
"""

USE_OPEN_CLIP = """
from suite.models.conditioning.clip import build_clip_nano, import_open_clip
first = import_open_clip()
assert import_open_clip() is first, "a second call finds the same module"
clip = build_clip_nano()
print("loaded", first.__version__, sum(p.numel() for p in clip.parameters()))
"""


def test_open_clip_loads_where_torchvisions_compiled_part_does_not():
    run = subprocess.run(
        [sys.executable, "-c", BREAK_TORCHVISION, USE_OPEN_CLIP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.startswith("loaded ")


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch):
    """Only the missing compiled part is survived; what else is wrong must be seen."""
    blocker = "import sys; sys.modules['torchvision'] = None\n"
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            blocker + "from suite.models.conditioning.clip import import_open_clip; import_open_clip()",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode != 0
    assert "torchvision" in run.stderr.splitlines()[-1]


def test_the_embedded_configuration_fits_the_tokenizer():
    text = json.loads(EMBEDDED_CONFIG.read_text())["text_cfg"]
    assert text["vocab_size"] == VOCABULARY == END + 1
    assert text["context_length"] == CONTEXT


def test_the_embedded_clip_has_its_sizes():
    clip = build_clip_nano().eval()
    with torch.inference_mode():
        text = clip.encode_text(tokenize(["a red cube", "two small blue balls"]))
        pictures = embed_views(clip, torch.rand(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert text.shape == pictures.shape == (2, 128)
    assert torch.allclose(pictures.norm(dim=1), torch.ones(2), atol=1e-5)
    assert clip.visual.conv1.weight.shape == (128, 3, 8, 8)
    assert len(clip.visual.transformer.resblocks) == len(clip.transformer.resblocks) == 3
    assert 1_200_000 < sum(p.numel() for p in clip.parameters()) < 1_300_000  # 5 MB in float32


def test_the_committed_weights_fill_every_parameter_of_the_embedded_clip():
    for name in ("clip-nano", "clip-nano-judge"):
        clip, (weights, _) = build_clip_nano(), load_embedded(name)
        load_clip(clip, weights)
        assert all(torch.equal(parameter, weights[key]) for key, parameter in clip.named_parameters())


def test_weights_that_do_not_fit_are_refused_by_key():
    """A renamed key would leave a network partly untrained, and its scores would look like scores."""
    weights = dict(load_embedded("clip-nano-judge")[0])
    weights["text_projection_2"] = weights.pop("text_projection")
    with pytest.raises(ValueError, match="missing text_projection; unknown text_projection_2"):
        load_clip(build_clip_nano(), weights)
    weights["text_projection"] = weights.pop("text_projection_2")
    load_clip(build_clip_nano(), {key: value for key, value in weights.items() if key != "attn_mask"})


def test_an_import_that_failed_is_tried_again_with_the_same_answer():
    """Each failure says what is wrong with torchvision, not that its operators were declared before."""
    script = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        if name == "open_clip":
            raise ImportError("no open_clip here")
sys.meta_path.insert(0, Broken())
from suite.models.conditioning.clip import import_open_clip
for _ in range(2):
    try:
        import_open_clip()
    except ImportError as error:
        print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines() == ["no open_clip here"] * 2
