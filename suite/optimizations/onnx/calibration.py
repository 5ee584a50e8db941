"""The ranges of a graph's activations, seen over whole samplings of captions that are never scored.

A range is the largest magnitude of all calls. `simulated_integers` clips the outermost 1e-4 of the values; keeping them
raised one error of six of the embedded networks by 9 % and lowered the others by 2 to 26 %, and to clip takes whole
tensors, which in a full-size network were 22 GB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from suite.models.pipeline import Pipeline, require
from suite.models.sampling.settings import Sampled, Sampling
from suite.optimizations.onnx.export import GRAPH, write
from suite.optimizations.onnx.int8 import Products
from suite.optimizations.onnx.session import CPU, Run, in_place_of, onnxruntime, session_options
from suite.scenes.gallery import GALLERY

PROMPTS, STEPS = 8, 16
FEW_PROMPTS, FEW_STEPS = 1, 4  # of large networks, one of whose evaluations takes seconds on a processor
LARGE = 10_000_000  # parameters

Ranges = dict[str, float]


def sampled(pipeline: Pipeline) -> tuple[list[str], Sampling]:
    """What is sampled to see the ranges: captions, and how; with no more steps than the recipe has so far."""
    sizes = [sum(p.numel() for p in pipeline.networks[stage].parameters()) for stage in pipeline.diffusion]
    count, steps = (FEW_PROMPTS, FEW_STEPS) if max(sizes) > LARGE else (PROMPTS, STEPS)
    captions = json.loads(GALLERY.read_text())["tuning"][:count]
    require(pipeline, Sampled)
    return captions, replace(pipeline.sampling, steps=min(steps, pipeline.steps))


def described(pipeline: Pipeline) -> dict[str, object]:
    """What the ranges depend on besides the diffusion networks, for the cache's key."""
    captions, sampling = sampled(pipeline)
    return {
        "captions": captions,
        "calibration": asdict(sampling),
        "recipe": {n: repr(getattr(pipeline, n, None)) for n in ("apart", "guidance", "guided_within")},
        "pictures": getattr(pipeline, "picture_steps", None),
        "model": pipeline.model,
        "weights": pipeline.weights_sha256,
    }


def calibrate(pipeline: Pipeline, graphs: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, Ranges]]:
    """The ranges by stage and part, of all activations that a recipe may round. graphs: folders of float32 graphs.

    The networks run on the processor, wherever the pipeline's device is.
    """
    networks, before = dict(pipeline.networks), pipeline.sampling
    captions, sampling = sampled(pipeline)
    found: dict[str, dict[str, Ranges]] = {}
    with TemporaryDirectory() as scratch:
        for stage, parts in graphs.items():
            watched: dict[str, Run] = {}
            for part, folder in parts.items():
                ranges = found.setdefault(stage, {}).setdefault(part, {})
                place = Path(scratch, f"{len(found)}-{part}")
                place.mkdir()
                watched[part] = Watched(folder, place, ranges)
            pipeline.networks[stage] = in_place_of(networks[stage], watched)
        pipeline.sampling = sampling
        try:
            pipeline.generate(captions)
        finally:
            pipeline.sampling = before
            pipeline.networks.update(networks)
    return found


class Watched:
    """A float32 graph on the processor that also says how large its activations are: numbers, never whole tensors."""

    def __init__(self, folder: Path, scratch: Path, ranges: Ranges):
        """scratch: an empty folder for the graph with more outputs. ranges: filled at each call."""
        import onnx
        from onnx import TensorProto, helper

        model = onnx.load(folder / GRAPH)
        self.outputs = [port.name for port in model.graph.output]
        self.extremes = {
            f"{name}/{kind}": name
            for name in Products(model, ()).activations(attention=True)
            for kind in ("ReduceMin", "ReduceMax")
        }
        asking: dict[str, list] = {}
        for said, name in self.extremes.items():
            question = helper.make_node(said.rpartition("/")[2], [name], [said], said, keepdims=0)
            asking.setdefault(name, []).append(question)
            model.graph.output.append(helper.make_tensor_value_info(said, TensorProto.FLOAT, []))
        nodes = [question for port in model.graph.input for question in asking.get(port.name, [])]
        for node in model.graph.node:
            nodes += [node, *(question for name in node.output for question in asking.get(name, []))]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        write(model, scratch)
        options = session_options()
        # In the graph's order, where each question follows what it is about: else all tensors wait for the end.
        options.execution_order = onnxruntime().ExecutionOrder.PRIORITY_BASED
        options.enable_cpu_mem_arena = False  # what a run took is given back: this is loading
        self.ranges = ranges
        self.session = onnxruntime().InferenceSession(str(scratch / GRAPH), options, providers=[CPU])
        self.inputs = [port.name for port in self.session.get_inputs()]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        device = next(iter(inputs.values())).device
        given = {name: inputs[name].float().cpu().numpy() for name in self.inputs}
        names = [*self.outputs, *self.extremes]
        made = dict(zip(names, self.session.run(names, given)))
        for said, name in self.extremes.items():
            self.ranges[name] = max(self.ranges.get(name, 0.0), abs(float(made[said])))
        return {name: torch.from_numpy(made[name]).to(device) for name in self.outputs}
