"""The graphs: where they round and where not, the same for processors and GPUs, and every kind of network as one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from suite.catalogue.optimizations import OPTIMIZATIONS
from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.checkpoints.networks import random_network
from suite.models.point_e.network import PointDiffusionTransformer, PointTransformerSettings
from suite.optimizations.onnx import calibration as onnx_calibration
from suite.optimizations.onnx import graphs as onnx_graphs
from suite.optimizations.onnx import int8 as onnx_int8
from suite.optimizations.onnx import session as onnx_session
from suite.optimizations.onnx.export import GRAPH, network_sha256, parts_of
from suite.optimizations.onnx.technique import TOLERANCES, use_onnx
from suite.scenes.gallery import GALLERY
from tests.onnx_cases import CPU, onnx, pipeline, relative, shared_cache  # noqa: F401 - fixtures


def graph_of(made_by: dict, stage: str, part: str = "evaluation"):
    return onnx.load(made_by[stage][part] / GRAPH).graph


def kinds(graph) -> dict[str, int]:
    return {kind: sum(node.op_type == kind for node in graph.node) for kind in ("QuantizeLinear", "DequantizeLinear")}


def test_linear_rounds_the_layers_and_all_rounds_attentions_products_too():
    plain = pipeline()
    made = {
        arithmetic: onnx_graphs.graphs(plain, plain.diffusion, arithmetic) for arithmetic in ("int8-linear", "int8-all")
    }
    linear, everything = (graph_of(made[a], "base diffusion") for a in ("int8-linear", "int8-all"))
    layers, blocks = 2 + 1 + 4 * 4, 4  # time, clip, and four in each block; neither the points' projection nor the head
    assert kinds(linear)["DequantizeLinear"] == 2 * layers
    assert kinds(everything)["DequantizeLinear"] == 2 * layers + 4 * blocks
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in linear.initializer}
    maker = {node.output[0]: node for node in linear.node}
    for node in linear.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in maker:
            continue
        stored, scale, zero = (
            maker[node.input[1]].input if maker[node.input[1]].op_type == "DequantizeLinear" else 3 * [""]
        )
        if stored not in tensors:
            continue
        weight = tensors[stored]
        axis = next(a.i for a in maker[node.input[1]].attribute if a.name == "axis")
        assert weight.dtype == "int8" and abs(weight.astype(int)).max() == 127
        assert tensors[scale].shape == (weight.shape[axis],) and not tensors[zero].any()
    activation = [tensors[n.input[2]] for n in linear.node if n.op_type == "QuantizeLinear"]
    assert all(zero.dtype == "int8" and zero == 0 for zero in activation)


def test_rounded_weights_are_the_nearest_levels_of_the_networks():
    plain = pipeline()
    graph = graph_of(onnx_graphs.graphs(plain, plain.diffusion, "int8-linear"), "base diffusion")
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    node = next(n for n in graph.node if n.name == "/network/backbone/resblocks.0/mlp/c_fc/MatMul")
    stored, scale, _ = next(n for n in graph.node if node.input[1] in n.output).input
    weight = plain.networks["base diffusion"].backbone.resblocks[0].mlp.c_fc.weight
    rounded = torch.from_numpy(tensors[stored] * tensors[scale]).T
    assert (rounded - weight).abs().max() <= tensors[scale].max() / 2 + 1e-6


def test_a_gpus_recipe_has_the_processors_very_graph():
    """What TensorRT would be given: the folder is the same, whoever asks for it."""
    for arithmetic in ("int8-linear", "int8-all"):
        folders = []
        for _ in range(2):
            plain = pipeline()
            folders.append(onnx_graphs.graphs(plain, plain.diffusion, arithmetic))
        assert folders[0] == folders[1]
    for ours, theirs in (("int8-onnx-linear", "int8-tensorrt-linear"), ("int8-onnx-all", "int8-tensorrt-all")):
        pair = [OPTIMIZATIONS[name].techniques[0] for name in (ours, theirs)]
        assert len({technique.apply for technique in pair}) == 1
        assert [technique.parameters["provider"] for technique in pair] == ["cpu", "tensorrt"]
        assert len({technique.parameters["arithmetic"] for technique in pair}) == 1


def test_calibration_sees_tuning_captions_only_and_leaves_the_pipeline_as_it_was(monkeypatch):
    made, seen = pipeline(), []
    generate = type(made).generate
    monkeypatch.setattr(
        type(made), "generate", lambda self, prompts, *a, **k: seen.extend(prompts) or generate(self, prompts, *a, **k)
    )
    before = dict(made.networks)
    ranges = onnx_calibration.calibrate(made, onnx_graphs.exported(made, made.diffusion))
    gallery = json.loads(GALLERY.read_text())
    assert seen and set(seen) <= set(gallery["tuning"])
    assert not set(seen) & ({*gallery["prompts"], *gallery["distractors"]})
    assert made.networks == before and made.steps == 64
    everything = [value for parts in ranges.values() for part in parts.values() for value in part.values()]
    assert len(everything) > 60 and all(0 < value < 1e3 for value in everything)


def test_the_processors_float32_attention_is_one_operation_and_the_rounded_one_is_left_as_it_is():
    plain = pipeline()
    for arithmetic, fused in (("float32", 4), ("int8-linear", 4), ("int8-all", 0)):
        folder = onnx_graphs.graphs(plain, plain.diffusion, arithmetic)["base diffusion"]["evaluation"]
        nodes = onnx.load(onnx_graphs.for_processor("x", folder) / GRAPH).graph.node
        kinds = [node.op_type for node in nodes]
        assert (kinds.count("MultiHeadAttention"), kinds.count("Softmax")) == (fused, 4 - fused)


@pytest.mark.parametrize("model", ["point-e-nano-image", "shap-e-nano-image"])
def test_networks_that_see_pictures_are_the_same_at_every_batch(model):
    plain = pipeline(model=model)
    parts = {stage: parts_of(plain.networks[stage]) for stage in plain.diffusion}
    made = use_onnx(plain, CPU, arithmetic="float32")
    for stage, part in [(name, part) for name in made.diffusion for part in parts[name]]:
        for rows in (1, 2, 5):
            inputs = {name: tensor.repeat(3, *[1] * (tensor.ndim - 1))[:rows] for name, tensor in part.inputs.items()}
            with torch.inference_mode():
                wanted = part.module(*inputs.values())
            given = made.networks[stage].runs[part.name](**inputs)
            for ours, theirs in zip(given.values(), wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
                assert relative(ours, theirs) < TOLERANCES["float32"]


@pytest.mark.parametrize("conditioning", ["none", "vector", "grid", "grid+points"])
def test_the_published_kinds_of_point_transformer_take_what_the_network_takes(conditioning):
    """Narrow ones; text mode gives the upsampler no picture, and a doubled batch comes with whole time steps."""
    settings = PointTransformerSettings(
        points=48,
        width=64,
        layers=2,
        heads=2,
        conditioning=conditioning,
        clip_width=32,
        clip_tokens=5,
        low_resolution_points=16 if conditioning == "grid+points" else 0,
    )
    network = random_network(lambda: PointDiffusionTransformer(settings), CPU).eval().requires_grad_(False)
    narrow = SimpleNamespace(model="narrow", networks={"upsampler": network}, diffusion=("upsampler",))
    made = use_onnx(narrow, CPU, arithmetic="float32").networks["upsampler"]
    draws = torch.Generator().manual_seed(3)
    given = {"x": torch.randn(3, 6, 48, generator=draws), "t": torch.full((3,), 801)}
    if conditioning == "grid+points":
        given["low_resolution"] = torch.rand(3, 6, 16, generator=draws)
    assert relative(made(**given), network(**given)) < TOLERANCES["float32"]
    if conditioning != "none":
        tokens = () if conditioning == "vector" else (5,)
        given["clip"] = torch.randn(3, *tokens, 32, generator=draws)
        assert relative(made(**given), network(**given)) < TOLERANCES["float32"]
    else:
        with pytest.raises(ValueError, match="takes no clip"):
            made(**given, clip=torch.zeros(3, 32))
    assert made.dtype == torch.float32


def test_the_same_tensors_with_other_settings_are_another_graph():
    """How many heads there are, no tensor tells."""
    common = dict(points=8, width=32, layers=1, conditioning="vector", clip_width=8, clip_tokens=1)
    networks = [PointDiffusionTransformer(PointTransformerSettings(**common | {"heads": heads})) for heads in (2, 4, 2)]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    two, four, again = (network_sha256(network) for network in networks)
    assert two == again != four


def test_sums_of_integers_are_exact_on_every_processor(tmp_path):
    """Two products of the largest numbers are over 16 bits, in which processors without VNNI would add them."""
    from onnx import helper, numpy_helper

    width = 2 * onnx_int8.MIN_INNER
    nodes = [helper.make_node("MatMul", ["x", "w"], ["predicted"], "layer")]

    def port(name: str):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", width])

    weight = numpy_helper.from_array(np.ones((width, width), np.float32), "w")
    graph = helper.make_graph(nodes, "ones", [port("x")], [port("predicted")], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / GRAPH)
    for name, write in (
        ("dynamic", lambda target: onnx_int8.dynamic(tmp_path, target, ())),
        ("static", lambda target: onnx_int8.static(tmp_path, target, (), {"x": 1.0}, False)),
    ):
        (target := tmp_path / name).mkdir()
        write(target)
        made = onnx_session.Session(target / GRAPH, CPU, [onnx_session.CPU])(x=torch.ones(3, width))["predicted"]
        assert torch.allclose(made, torch.full((3, width), float(width)), rtol=1e-3), name


def test_a_network_that_nobody_wrote_an_export_for_is_unsupported():
    with pytest.raises(UnsupportedRecipe, match="no ONNX graph is known for a Linear"):
        parts_of(nn.Linear(2, 2))
