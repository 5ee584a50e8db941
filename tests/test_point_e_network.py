import dataclasses
import math

import pytest
import torch

from suite.models.point_e.network import (
    PUBLISHED,
    PointDiffusionTransformer,
    PointTransformerSettings,
    timestep_embedding,
    to_network_units,
    to_physical_units,
)

# Counted in the original at fc8a607, CLIP not included.
ORIGINAL = {
    "base40M-textvec": (40_333_836, 158),
    "base40M-imagevec": (40_333_836, 158),
    "base40M-uncond": (39_940_108, 156),
    "base40M": (40_466_956, 160),
    "base300M": (311_778_316, 304),
    "base1B": (1_244_311_564, 304),
    "upsample": (40_470_540, 164),
}

TINY = {
    "none": {},
    "vector": {"conditioning": "vector", "clip_width": 12, "clip_tokens": 1},
    "wide vector": {"conditioning": "vector", "clip_width": 12, "clip_tokens": 4},
    "grid": {"conditioning": "grid", "clip_width": 12, "clip_tokens": 5},
    "grid+points": {"conditioning": "grid+points", "clip_width": 12, "clip_tokens": 5, "low_resolution_points": 7},
}


def tiny(kind: str, **changes) -> PointDiffusionTransformer:
    """A small network with noise on every parameter, so that none of its parts is silent."""
    settings = PointTransformerSettings(points=9, width=16, layers=2, heads=4, **(TINY[kind] | changes))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        network = PointDiffusionTransformer(settings).eval()
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def arguments(network: PointDiffusionTransformer, batch: int = 3, points: int = 9) -> dict[str, torch.Tensor]:
    settings, generator = network.settings, torch.Generator().manual_seed(2)
    given = {
        "x": torch.randn(batch, 6, points, generator=generator),
        "t": 1023 * torch.rand(batch, generator=generator),
    }
    if settings.conditioning == "vector":
        given["clip"] = torch.randn(batch, settings.clip_width, generator=generator)
    elif settings.conditioning != "none":
        given["clip"] = torch.randn(batch, settings.clip_tokens, settings.clip_width, generator=generator)
    if settings.conditioning == "grid+points":
        low = torch.randn(batch, 6, settings.low_resolution_points, generator=generator)
        given["low_resolution"] = to_physical_units(low)
    return given


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.float() - b.float()).norm() / b.float().norm()).item()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_and_keys_are_the_originals(name):
    with torch.device("meta"):
        network = PointDiffusionTransformer(PUBLISHED[name])
    assert (sum(p.numel() for p in network.parameters()), len(network.state_dict())) == ORIGINAL[name]


def test_every_original_is_published():
    assert PUBLISHED.keys() == ORIGINAL.keys()


def test_key_names_are_those_of_the_checkpoints():
    def both(*names):
        return {f"{name}.{end}" for name in names for end in ("weight", "bias")}

    block = ("attn.c_qkv", "attn.c_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")
    common = both("time_embed.c_fc", "time_embed.c_proj", "ln_pre", "ln_post", "input_proj", "output_proj")
    common |= both(*(f"backbone.resblocks.{i}.{name}" for i in range(2) for name in block))
    buffers = {"channel_scales", "channel_biases"}
    grid = both("clip_embed.0", "clip_embed.1")
    assert tiny("none").state_dict().keys() == common
    assert tiny("vector").state_dict().keys() == common | both("clip_embed")
    assert tiny("grid").state_dict().keys() == common | grid
    assert tiny("grid+points").state_dict().keys() == common | grid | both("cond_point_proj") | buffers


@pytest.mark.parametrize("prediction, channels", [("epsilon", 12), ("v", 6)])
@pytest.mark.parametrize("points", [9, 4])
@pytest.mark.parametrize("kind", TINY)
def test_shape(kind, points, prediction, channels):
    network = tiny(kind, prediction=prediction)
    assert network(**arguments(network, points=points)).shape == (3, channels, points)


@pytest.mark.parametrize("kind", TINY)
def test_sequence_length_is_what_the_settings_say(kind):
    network = tiny(kind)
    lengths = []
    network.backbone.register_forward_hook(lambda module, inputs, output: lengths.append(output.shape[1]))
    network(**arguments(network))
    assert lengths == [network.settings.tokens]


@pytest.mark.parametrize("kind", TINY)
def test_meta_device(kind):
    network = tiny(kind, prediction="v").to("meta")
    given = {name: value.to("meta") for name, value in arguments(network).items()}
    assert network(**given).shape == (3, 6, 9)


@pytest.mark.parametrize("kind", TINY)
def test_batching_does_not_change_a_sample(kind):
    network = tiny(kind)
    given = arguments(network)
    together = network(**given)
    for i in range(3):
        alone = network(**{name: value[i : i + 1] for name, value in given.items()})
        assert difference(together[i : i + 1], alone) < 1e-5
    assert difference(together[:1], together[1:2]) > 0.01


def test_points_are_a_set():
    network = tiny("grid+points")
    given = arguments(network)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    assert difference(network(**given | {"x": given["x"][..., order]}), network(**given)[..., order]) < 1e-5


@pytest.mark.parametrize(
    "kind, name", [("vector", "clip"), ("grid", "clip"), ("grid+points", "clip"), ("grid+points", "low_resolution")]
)
def test_each_condition_acts_on_every_point(kind, name):
    network = tiny(kind)
    given = arguments(network)
    moved = (network(**given | {name: given[name].flip(0)}) - network(**given))[0].abs().amax(dim=0)
    assert (moved > 1e-4).all()


@pytest.mark.parametrize("kind", ["vector", "wide vector", "grid", "grid+points"])
def test_zero_clip_is_no_condition(kind):
    network = tiny(kind)
    given = arguments(network)
    without = network(**given | {"clip": None})
    assert torch.equal(network(**given | {"clip": torch.zeros_like(given["clip"])}), without)
    assert difference(network(**given), without) > 0.01


def test_zero_vector_embeds_as_the_bias():
    network = tiny("vector")
    embedded = []
    network.clip_embed.register_forward_hook(lambda module, inputs, output: embedded.append((inputs[0], output)))
    network(**arguments(network) | {"clip": torch.zeros(3, 12)})
    assert torch.equal(embedded[0][0], torch.zeros(3, 12))
    assert torch.equal(embedded[0][1], network.clip_embed.bias.expand(3, -1))


def test_vector_has_unit_variance_whatever_its_length():
    network = tiny("vector")
    seen = []
    network.clip_embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    given = arguments(network)
    network(**given)
    network(**given | {"clip": 7 * given["clip"]})
    assert torch.allclose(seen[0].norm(dim=-1), torch.full((3,), math.sqrt(12)))
    assert torch.allclose(seen[0], seen[1])


def test_low_resolution_is_taken_in_physical_units():
    network = tiny("grid+points")
    seen = []
    network.cond_point_proj.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    low = torch.tensor([0.5, 0.0, -0.5, 0.0, 127.5, 255.0])[None, :, None].expand(3, 6, 7)
    network(**arguments(network) | {"low_resolution": low})
    assert torch.allclose(seen[0][0, 0], torch.tensor([1.0, 0.0, -1.0, -1.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(to_network_units(low).transpose(1, 2), seen[0])
    assert torch.allclose(to_physical_units(to_network_units(low)), low, atol=1e-4)


def test_attention_is_interleaved_by_head():
    attention = tiny("none").backbone.resblocks[0].attn
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(4))
    rows = attention.c_qkv(x).view(2, 5, 4, 3, 4)  # batch, token, head, query/key/value, channel
    query, key, value = rows.unbind(3)
    weights = torch.einsum("bthc,bshc->bhts", query, key).div(2).softmax(-1)
    expected = attention.c_proj(torch.einsum("bhts,bshc->bthc", weights, value).reshape(2, 5, 16))
    assert difference(attention(x), expected) < 1e-5


def test_timestep_embedding():
    embedding = timestep_embedding(torch.tensor([0, 3]), 4)
    assert torch.allclose(embedding[0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert torch.allclose(embedding[1], torch.tensor([math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03)]))


def test_bfloat16_weights_keep_time_steps_apart():
    network = tiny("vector").to(torch.bfloat16)
    given = arguments(network)
    near = [network(**given | {"t": torch.full((3,), t)}) for t in (1001, 1002)]
    assert near[0].dtype == torch.bfloat16
    assert not torch.equal(*near)


@pytest.mark.parametrize("kind", TINY)
def test_bfloat16_is_near_float32(kind):
    network = tiny(kind, prediction="v")
    given = arguments(network)
    exact = network(**given)
    with torch.autocast("cpu", torch.bfloat16):
        cast = network(**given)
    rounded = network.to(torch.bfloat16)(**given)
    assert cast.dtype == rounded.dtype == torch.float32
    for inexact in (cast, rounded):
        assert 0 < difference(inexact, exact) < 0.05


def test_v_head_is_computed_in_float32():
    head = tiny("none", prediction="v").output_proj
    x = torch.randn(2, 16, generator=torch.Generator().manual_seed(5))
    exact = torch.nn.functional.linear(x, head.weight, head.bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert difference(head(x), exact) < 1e-6


def test_a_new_network_predicts_zero_and_every_parameter_learns():
    network = PointDiffusionTransformer(tiny("grid+points").settings)
    given = arguments(network)
    assert not network(**given).any()
    torch.nn.init.normal_(network.output_proj.weight)
    network(**given).square().sum().backward()
    assert [name for name, p in network.named_parameters() if not p.grad.any()] == []


def test_wrong_conditions_are_refused():
    low = torch.zeros(3, 6, 7)
    with pytest.raises(ValueError, match="no clip"):
        tiny("none")(**arguments(tiny("none")), clip=torch.zeros(3, 12))
    with pytest.raises(ValueError, match="low_resolution"):
        tiny("grid")(**arguments(tiny("grid")), low_resolution=low)
    with pytest.raises(ValueError, match="low_resolution"):
        tiny("grid+points")(**arguments(tiny("grid+points")) | {"low_resolution": None})


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"conditioning": "text"}, "conditioning"),
        ({"prediction": "x0"}, "prediction"),
        ({"heads": 3}, "heads"),
        ({"conditioning": "vector"}, "clip_width"),
    ],
)
def test_wrong_settings_are_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        dataclasses.replace(PointTransformerSettings(points=9, width=16, layers=2, heads=4), **changes)
