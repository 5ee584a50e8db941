"""Each network evaluation as one CUDA graph: hundreds of kernels are launched at once, without gaps between them.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. A graph is captured for each shape of the inputs, at
its first call, which a worker makes before anything is timed. Inputs are copied into the graph's own tensors and its
answer out of them. The kernels are the eager ones: the tolerance is float32's own, 1e-5 root mean square on 16 steps.
Not run on a GPU yet; the bookkeeping is tested with a capture that stands in for CUDA's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.optimizations.execution.forwards import replace_forward
from suite.optimizations.layers import stages_to_change

WARM_UP_CALLS = 3  # before a capture, on another stream, as the documentation asks: libraries allocate at first calls

Capture = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""Takes a call without arguments; returns what replays it, and the answer whose tensors each replay fills."""


def use_cuda_graphs(pipeline: Pipeline, device: torch.device, *, stages: Sequence[str] | None = None) -> Pipeline:
    """Replay graphs in place of each network's forward. UnsupportedRecipe on a device without CUDA."""
    stages = stages_to_change(pipeline, stages)
    if device.type != "cuda":
        raise UnsupportedRecipe(f"CUDA graphs need a CUDA device, and this is {device.type}")
    capture = CudaCapture(torch.cuda.graph_pool_handle())
    for stage in stages:
        replace_forward(pipeline.networks[stage], lambda forward: Graphed(forward, capture))
    return pipeline


class CudaCapture:
    """Graphs that share one pool of memory: each answer is copied out before another graph replays."""

    def __init__(self, pool: Any):
        self._pool = pool

    def __call__(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            answer = call()
        return graph.replay, answer


class Graphed:
    """A function of tensors, and of dataclasses, lists and dictionaries of them, to the same; replayed by shape."""

    def __init__(self, function: Callable[..., Any], capture: Capture):
        self._function, self._capture = function, capture
        self._graphs: dict[tuple, tuple[list[Tensor], Callable[[], None], Any]] = {}

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        given: list[Tensor] = []
        shape = signature((arguments, named), given)
        if shape not in self._graphs:
            self._graphs[shape] = self._captured(arguments, named)
        own, replay, answer = self._graphs[shape]
        for mine, theirs in zip(own, given, strict=True):
            mine.copy_(theirs)
        replay()
        return copied(answer, [])  # the next replay fills the graph's own

    def _captured(self, arguments: tuple, named: dict) -> tuple[list[Tensor], Callable[[], None], Any]:
        own: list[Tensor] = []
        arguments, named = copied((arguments, named), own)
        replay, answer = self._capture(lambda: self._function(*arguments, **named))
        return own, replay, answer


def signature(value: Any, found: list[Tensor]) -> Any:
    """What a graph depends on besides its tensors' numbers; `found` takes the tensors, in order."""
    if isinstance(value, Tensor):
        found.append(value)
        return tuple(value.shape), value.dtype
    if dataclasses.is_dataclass(value):
        return type(value), tuple(signature(getattr(value, f.name), found) for f in dataclasses.fields(value))
    if isinstance(value, dict):
        return tuple((key, signature(value[key], found)) for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return tuple(signature(part, found) for part in value)
    return value


def copied(value: Any, found: list[Tensor]) -> Any:
    """The same structure around copies of its tensors, which `found` takes in the order of `signature`."""
    if isinstance(value, Tensor):
        found.append(value.clone())
        return found[-1]
    if dataclasses.is_dataclass(value):
        return type(value)(*(copied(getattr(value, f.name), found) for f in dataclasses.fields(value)))
    if isinstance(value, dict):
        return {key: copied(value[key], found) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(copied(part, found) for part in value)
    return value
