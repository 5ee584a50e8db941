"""Attention as one operation of ONNX Runtime's processor kernels, which never hold a whole map of probabilities.

A graph of standard operations multiplies, normalizes and multiplies again: for the full-size upsampler these maps are
600 MB each. What TensorRT fuses by itself is put together here, in float32 and with the same numbers up to the order of
sums; products that the graph rounds to integers are left as they are. Dao et al. 2022, arXiv:2205.14135;
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from suite.optimizations.onnx.export import GRAPH, HEADS, write

if TYPE_CHECKING:
    from onnx import ModelProto

DOMAIN = "com.microsoft"
JOINED, PARTED = "joined heads", "parted heads"  # shapes


def fuse_file(source: Path, target: Path) -> None:
    """The graph of one folder, its attention put together, into another."""
    import onnx

    model = onnx.load(source / GRAPH)
    fuse(model)
    write(model, target)


def fuse(model: ModelProto) -> int:
    """In place; how many were found. Each is query [B, H, N, D] times key [B, H, D, M], a softmax, times value."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    heads = next(int(p.value) for p in model.metadata_props if p.key == HEADS)
    maker = {name: node for node in graph.node for name in node.output}
    users: dict[str, list] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    gone, put = set(), {}
    for softmax in (node for node in graph.node if node.op_type == "Softmax"):
        scores, mixed = maker.get(softmax.input[0]), users[softmax.output[0]]
        if scores is None or scores.op_type != "MatMul" or [node.op_type for node in mixed] != ["MatMul"]:
            continue
        name = f"{softmax.name}/fused"
        # Side by side, [B, N, H * D]: its way without maps takes nothing else.
        sides = {
            "query": (scores.input[0], [0, 2, 1, 3]),
            "key": (scores.input[1], [0, 3, 1, 2]),
            "value": (mixed[0].input[1], [0, 2, 1, 3]),
        }
        nodes = []
        for side, (given, order) in sides.items():
            nodes += [
                helper.make_node("Transpose", [given], [f"{name}/{side}"], f"{name}/{side}", perm=order),
                helper.make_node("Reshape", [f"{name}/{side}", JOINED], [f"{name}/{side}s"], f"{name}/{side}s"),
            ]
        inputs = [f"{name}/{side}s" for side in sides]
        nodes += [
            helper.make_node(
                "MultiHeadAttention",
                inputs,
                [f"{name}/out"],
                name,
                domain=DOMAIN,
                num_heads=heads,
                scale=1.0,  # the graph scales query and key
            ),
            helper.make_node("Reshape", [f"{name}/out", PARTED], [f"{name}/parted"], f"{name}/parted"),
            helper.make_node("Transpose", [f"{name}/parted"], [mixed[0].output[0]], f"{name}/back", perm=[0, 2, 1, 3]),
        ]
        put[mixed[0].output[0]] = nodes
        gone |= {scores.output[0], softmax.output[0]}
    if put:
        nodes = [new for node in graph.node if node.output[0] not in gone for new in put.get(node.output[0], [node])]
        del graph.node[:]
        graph.node.extend(nodes)
        shapes = {JOINED: [0, 0, -1], PARTED: [0, 0, heads, -1]}
        graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), n) for n, v in shapes.items())
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return len(put)
