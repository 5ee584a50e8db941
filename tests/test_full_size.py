"""Networks at full size: filled where they are used, and CLIP ViT-L/14 as the published networks read it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.models.checkpoints.networks import (
    FullSizeWeights,
    empty_network,
    fill_with_noise,
    loaded_network,
    random_network,
)
from suite.models.conditioning.clip_large import (
    load_image_side,
    load_text_side,
    picture_features,
    prepare,
    text_vectors,
)
from suite.models.conditioning.full_size import DEFAULT_PAINTER
from suite.models.conditioning.text_to_image import PAINTERS, DiffusersPainter, StandIn, StandInPainter, load_painter
from suite.models.point_e.network import CHANNEL_SCALES, PointDiffusionTransformer, PointTransformerSettings
from suite.names import UnknownName

CPU = torch.device("cpu")
TINY = PointTransformerSettings(
    points=9, width=16, layers=2, heads=4, conditioning="grid+points", clip_width=12, clip_tokens=5
)


def tiny() -> nn.Module:
    return PointDiffusionTransformer(TINY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_network_has_noise_on_every_parameter_in_its_own_type(dtype):
    network = random_network(tiny, CPU, dtype)
    for name, parameter in network.named_parameters():
        assert parameter.dtype == dtype, name
        assert parameter.isfinite().all() and parameter.float().std() > 0.01, name
    assert torch.equal(network.channel_scales, torch.tensor(CHANNEL_SCALES))  # float32 still, or colours would be off


def test_random_network_never_exists_in_another_type(monkeypatch):
    """Values are drawn in place: no parameter is replaced by a cast of itself."""
    seen = []
    monkeypatch.setattr(nn.Module, "to_empty", _spied(nn.Module.to_empty, seen))
    network = random_network(tiny, CPU, torch.bfloat16)
    assert seen == [{("meta", torch.bfloat16)}]
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}


def _spied(function, seen):
    def spy(self, **arguments):
        seen.append({(p.device.type, p.dtype) for p in self.parameters()})
        return function(self, **arguments)

    return spy


def test_noise_is_the_seeds_and_leaves_torchs_global_generator_alone():
    before = torch.get_rng_state()
    a, b, other = (random_network(tiny, CPU, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["input_proj.weight"], other["input_proj.weight"])


def test_noise_does_not_depend_on_the_class_only_on_names_and_shapes():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Linear(3, 2), nn.LayerNorm(3)

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.LayerNorm(3), nn.Linear(3, 2)

    one, other = One(), Other()
    fill_with_noise(one, 5), fill_with_noise(other, 5)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert abs(one.first.weight.mean() - 1) < 0.6 and abs(one.first.bias.mean()) < 0.6


def test_state_that_does_not_fit_is_refused_by_key():
    state = random_network(tiny, CPU).state_dict()
    lacking = {name: value for name, value in state.items() if name != "ln_pre.bias"}
    with pytest.raises(WeightsError, match="these weights do not fit PointDiffusionTransformer: missing ln_pre.bias"):
        loaded_network(tiny, lacking, CPU)
    with pytest.raises(WeightsError, match="unknown more"):
        loaded_network(tiny, state | {"more": torch.zeros(1)}, CPU)
    with pytest.raises(WeightsError, match=r"size mismatch: ln_pre.bias is \[3\], expected \[16\]"):
        loaded_network(tiny, state | {"ln_pre.bias": torch.zeros(3)}, CPU)
    with pytest.raises(WeightsError, match="another kind of number: ln_pre.bias is torch.int64"):
        loaded_network(tiny, state | {"ln_pre.bias": torch.zeros(16, dtype=torch.int64)}, CPU)
    with pytest.raises(WeightsError, match="missing .* and [0-9]+ more; unknown other$"):  # and not a page of keys
        loaded_network(tiny, {"other": torch.zeros(1)}, CPU)
    loaded = loaded_network(tiny, state | {"more": torch.zeros(1)}, CPU, strict=False)
    assert torch.equal(loaded.ln_pre.bias, state["ln_pre.bias"])


def test_a_buffer_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no buffer ln_pre.mask"):
        random_network(tiny, CPU, buffers={"ln_pre.mask": torch.zeros(1)})


def test_weights_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="official or random weights, not 'embedded'"):
        FullSizeWeights("embedded", CPU)


def test_official_weights_are_what_load_official_gives(monkeypatch):
    state = {f"visual.{name}": value for name, value in random_network(tiny, CPU).state_dict().items()}
    module = ModuleType("suite.models.checkpoints.official")
    module.load_official = lambda name: (state | {"text": torch.zeros(1)}, f"hash of {name}")
    monkeypatch.setitem(sys.modules, "suite.models.checkpoints.official", module)
    weights = FullSizeWeights("official", CPU, torch.bfloat16)
    network = weights.network("base40M", tiny, prefix="visual.")
    assert weights.digests == ["hash of base40M"] and len(weights.sha256) == 64
    assert torch.equal(network.ln_pre.weight, state["visual.ln_pre.weight"].bfloat16())
    assert not any(p.requires_grad for p in network.parameters()) and not network.training


def test_official_weights_of_another_network_are_refused_by_the_checkpoints_name(monkeypatch):
    monkeypatch.setattr(
        "suite.models.checkpoints.official.load_official", lambda name: ({"sdf": torch.zeros(1)}, "hash")
    )
    with pytest.raises(WeightsError, match="the weights of base40M do not fit PointDiffusionTransformer: missing"):
        FullSizeWeights("official", CPU).network("base40M", tiny)


def test_digest_of_random_weights_tells_seeds_and_networks_apart_and_not_types():
    def digest(seed=0, dtype=torch.float32, name="a"):
        weights = FullSizeWeights("random", CPU, dtype, seed)
        weights.network(name, tiny)
        return weights.sha256

    assert digest() == digest(dtype=torch.bfloat16)
    assert len({digest(), digest(seed=1), digest(name="b")}) == 3


def test_clip_large_has_the_published_number_of_parameters():
    from suite.models.conditioning.clip_large import build_clip_large

    with torch.device("meta"):
        clip = build_clip_large()
    assert sum(p.numel() for p in clip.parameters()) == 427_616_513


@torch.inference_mode()
def test_text_side_gives_unit_vectors_by_the_causal_mask():
    weights = FullSizeWeights("random", CPU)
    clip = load_text_side(weights)
    prompts = ["a red cube", "a red cube", "a very long prompt " * 40]
    vectors = text_vectors(clip, prompts, CPU)
    assert vectors.shape == (3, 768) and torch.allclose(vectors.norm(dim=-1), torch.ones(3))
    assert torch.allclose(vectors[0], vectors[1]) and (vectors[0] - vectors[2]).norm() > 0.05
    assert clip.attn_mask[0, 1] == float("-inf") and clip.attn_mask[1, 0] == 0 and clip.attn_mask[3, 3] == 0


@torch.inference_mode()
def test_image_side_gives_the_grid_before_the_final_norm_and_without_the_class_token(monkeypatch):
    from suite.models.conditioning import clip_large

    build = clip_large.build_clip_large

    def shallow() -> nn.Module:
        clip = build()
        clip.visual.transformer.resblocks = clip.visual.transformer.resblocks[:2]
        return clip

    monkeypatch.setattr(clip_large, "build_clip_large", shallow)
    visual = load_image_side(FullSizeWeights("random", CPU))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    grid, vector = picture_features(visual, pixels)
    # By hand, as OpenAI's model goes.
    x = visual.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(2, 1, -1), x], 1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block in visual.transformer.resblocks:
        x = x + block.attn(*(block.ln_1(x),) * 3, need_weights=False)[0]
        hidden = block.mlp.c_fc(block.ln_2(x))
        x = x + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
    assert grid.shape == (2, 256, 1024) and (grid - x[:, 1:]).norm() / grid.norm() < 1e-5
    expected = torch.nn.functional.normalize(visual.ln_post(x[:, 0]) @ visual.proj, dim=-1)
    assert torch.allclose(vector, expected, atol=1e-5)


def test_pictures_are_prepared_as_openai_does():
    picture = Image.new("RGB", (640, 480), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 0, 80, 480))  # outside the middle square, and so cut away
    pixels = prepare([picture])
    assert pixels.shape == (1, 3, 224, 224)
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    red = torch.tensor([(c - m) / d for c, m, d in zip((1, 0, 0), mean, deviation)])
    assert torch.allclose(pixels[0, :, :, 8:], red[:, None, None].expand(3, 224, 216), atol=0.05)


def test_stand_in_paints_each_prompt_and_sample_its_own_picture_whatever_the_batch():
    painter = StandInPainter(random_network(StandIn, CPU).eval())
    a, b = painter("m", ["a red cube", "a dog"], 0)
    (alone,) = painter("m", ["a dog"], 0)
    (again,) = painter("m", ["a dog"], 1)
    values = [torch.from_numpy(np.array(picture)).float() for picture in (a, b, alone, again)]
    assert a.size == (512, 512) and values[0].std() > 5
    assert (values[1] - values[2]).abs().max() <= 1  # rounding
    assert (values[0] - values[1]).abs().mean() > 1 and (values[1] - values[3]).abs().mean() > 1


def test_a_text_to_image_pipeline_that_is_absent_says_how_to_get_it(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsAbsent, match="hf download stabilityai/sd-turbo.*TEXT3D_PICTURES"):
        load_painter("sd-turbo", CPU)
    with pytest.raises(UnknownName, match="sd-turbo"):
        load_painter("sd-turbbo", CPU)


def snapshot(hub: Path, network: str) -> Path:
    """A text-to-image repository in the Hub's cache that has one network, without weights."""
    from diffusers import UNet2DModel  # after suite.models, which makes diffusers importable beside any torchvision

    root = hub / "models--stabilityai--sd-turbo"
    folder = root / "snapshots/0123abcd"
    (folder / network).mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs/main").write_text("0123abcd")
    index = {"_class_name": "DDPMPipeline", network: ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    made = UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    made.save_config(folder / network)
    return folder / network


@pytest.mark.parametrize("file", [None, "pickle", "truncated"])
def test_a_text_to_image_pipeline_of_pickles_or_not_whole_is_refused(file, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)  # transformers, which the real ones need
    folder = snapshot(tmp_path, "unet")
    if file == "pickle":
        torch.save({"a": torch.ones(1)}, folder / "diffusion_pytorch_model.bin")
    if file == "truncated":
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(WeightsError, match="sd-turbo: .*not whole or not sound.*hf download stabilityai/sd-turbo"):
        load_painter("sd-turbo", CPU)


@pytest.mark.parametrize("main", [None, "0123abcd\n", "another"])
def test_a_text_to_image_pipeline_is_found_whatever_the_cache_calls_main(main, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    refs = snapshot(tmp_path, "unet").parents[2] / "refs/main"
    refs.unlink() if main is None else refs.write_text(main)
    with pytest.raises(WeightsError, match="snapshots/0123abcd is not whole"):  # so it was found
        load_painter("sd-turbo", CPU)


def test_a_published_painter_is_run_as_its_authors_do_and_each_prompt_has_its_own_noise():
    """By a pipeline that notes what it is asked: the real ones are not on the machines that this was written on."""

    class Noted:
        components = {"unet": nn.Linear(1, 1), "scheduler": object()}

        def __call__(self, prompts: list[str], **asked):
            self.asked = asked | {"prompts": prompts}
            noise = [torch.rand(1, generator=generator).item() for generator in asked["generator"]]
            return SimpleNamespace(images=noise)

    painter = DiffusersPainter(PAINTERS["sd-turbo"], pipeline := Noted())
    both, alone = painter("m", ["a dog", "a cat"], 0), painter("m", ["a cat"], 0)
    assert both[1] == alone[0] != both[0] and painter("m", ["a cat"], 1) != alone
    asked = {name: pipeline.asked[name] for name in ("num_inference_steps", "guidance_scale", "height", "width")}
    assert asked == {"num_inference_steps": 1, "guidance_scale": 0.0, "height": 512, "width": 512}
    assert pipeline.asked["prompts"] == ["a 3D render of a cat, plain background"]
    assert sum(p.numel() for p in painter.network.parameters()) == 2  # what the stage's parameters are counted from


def test_the_default_text_to_image_pipeline_is_one_step_that_suits_devices():
    assert PAINTERS[DEFAULT_PAINTER].steps == 1 and DEFAULT_PAINTER == "sd-turbo"


def test_empty_network_is_made_without_values_on_the_cpu_first():
    made = []

    class Seen(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            made.append(self.weight.device.type)

    assert empty_network(Seen, CPU, torch.float16).weight.dtype == torch.float16
    assert made == ["meta"]
