"""Eight-bit integers in an ONNX graph: explicit pairs of QuantizeLinear and DequantizeLinear, or scales at each call.

Static: a weight is stored in int8 with a scale an output channel; an activation has one scale, known in advance; both
are symmetric (zero is 0), as TensorRT asks of explicit quantization:
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html
The graph says where to round and leaves the arithmetic to whoever runs it. Jacob et al. 2018, arXiv:1712.05877.

Left in float32: layers that say so themselves (`Float32Linear`), and products over fewer than MIN_INNER channels. Those
take coordinates, which 8 bits would round to a fortieth of the object, and are under 1 % of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from suite.optimizations.onnx.export import GRAPH, write

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MIN_INNER = 64
LEVELS = 127
PRODUCTS = ("MatMul", "Gemm")


class Products:
    """A graph's products that can be in integers: of a Linear layer, or of attention."""

    def __init__(self, model: ModelProto, exact: Collection[str]):
        """exact: names of the layers that stay in float32."""
        from onnx import numpy_helper

        self.graph = model.graph
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.array = lambda name: numpy_helper.to_array(self.tensors[name])
        nodes = [node for node in model.graph.node if node.op_type in PRODUCTS]
        self.left = [node.name for node in nodes if any(f"/{name}/" in node.name for name in exact)]
        self.layers: list[NodeProto] = []
        self.attention: list[NodeProto] = []
        for node in nodes:
            if node.name in self.left:
                continue
            if node.input[1] not in self.tensors:
                self.attention.append(node)
            elif self.tensors[node.input[1]].dims[1 - self.channel_axis(node)] >= MIN_INNER:
                self.layers.append(node)
            else:
                self.left.append(node.name)

    def chosen(self, attention: bool) -> list[NodeProto]:
        return self.layers + (self.attention if attention else [])

    def activations(self, attention: bool) -> list[str]:
        """The tensors whose ranges must be known."""
        names = (name for node in self.chosen(attention) for name in node.input[:2])
        return [name for name in dict.fromkeys(names) if name not in self.tensors]

    @staticmethod
    def channel_axis(node: NodeProto) -> int:
        """Of the output channels in a layer's weight."""
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1


def static(source: Path, target: Path, exact: Collection[str], ranges: Mapping[str, float], attention: bool) -> None:
    """A float32 graph with the pairs put in. ranges: the largest magnitude that each activation keeps."""
    import onnx

    model = onnx.load(source / GRAPH)
    insert_pairs(model, exact, ranges, attention)
    write(model, target)


def insert_pairs(model: ModelProto, exact: Collection[str], ranges: Mapping[str, float], attention: bool) -> None:
    from onnx import helper, numpy_helper

    products = Products(model, exact)
    chosen = {node.name for node in products.chosen(attention)}
    nodes: list[NodeProto] = []
    added: dict[str, np.ndarray] = {}

    def pair(name: str, user: NodeProto) -> str:
        """The input of a product, rounded: one QuantizeLinear a tensor, one DequantizeLinear a use."""
        scale, zero, stored = f"{name}_scale", f"{name}_zero", f"{name}_int8"
        attributes = {}
        if name in products.tensors:
            axis = products.channel_axis(user)
            if stored not in added:
                weight = products.array(name).astype(np.float32)
                scales = np.maximum(np.abs(weight).max(axis=1 - axis), 1e-12) / LEVELS
                steps = np.rint(weight / np.expand_dims(scales, 1 - axis))
                added[stored] = np.clip(steps, -LEVELS, LEVELS).astype(np.int8)
                added[scale], added[zero] = scales.astype(np.float32), np.zeros(len(scales), np.int8)
            attributes["axis"] = axis
        elif scale not in added:
            added[scale] = np.float32(max(ranges[name], 1e-12) / LEVELS)
            added[zero] = np.int8(0)
            nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [stored], f"{name}/Quantize"))
        out = f"{user.name}/{name}_rounded"
        nodes.append(
            helper.make_node("DequantizeLinear", [stored, scale, zero], [out], f"{out}/Dequantize", **attributes)
        )
        return out

    for node in model.graph.node:
        if node.name in chosen:
            node.input[0], node.input[1] = (pair(name, node) for name in list(node.input[:2]))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in added.items())
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def dynamic(source: Path, target: Path, exact: Collection[str]) -> None:
    """ONNX Runtime's own: weights in int8 with a scale an output channel, activations ranged at each call.

    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source / GRAPH)
    left = Products(model, exact).left
    quantize_dynamic(
        model,
        target / GRAPH,
        op_types_to_quantize=list(PRODUCTS),
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=left,
        extra_options={"MatMulConstBOnly": True},
    )
    made = onnx.load(target / GRAPH)
    write(made, target)
