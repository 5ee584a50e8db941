"""The diffusion networks compiled by torch.compile: Ansel et al. 2024, doi:10.1145/3620665.3640366.

One graph a shape, without dynamic shapes; the first call of each shape compiles it. A worker's memory pass and its
warm-up make such calls before anything is timed, and objects are scored one at a time, in the shapes that were timed.
Where torch gives up compiling (a graph break, more than eight shapes) this raises rather than runs uncompiled.
Root mean square difference from float32 on the same noise, 16 steps: at most 0.001, sums being taken in another order.
Not run on a GPU yet.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.names import unknown
from suite.optimizations.execution.cuda_graphs import copied
from suite.optimizations.execution.forwards import replace_forward
from suite.optimizations.layers import stages_to_change

CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")  # on a GPU; each call fills the answer of the one before

# By the module that a layer's class is in: why no tracer gets through it, and what to take.
UNTRACEABLE = {
    "torch.ao.nn.quantized": "torch.compile cannot trace torch.ao's int8 layers; those of int8-torchao-linear it can",
    "suite.optimizations.arithmetic.onednn": (
        "torch.compile cannot lower the oneDNN operator that onednn calls; take compile alone"
    ),
}


def compile_networks(
    pipeline: Pipeline,
    device: torch.device,
    *,
    mode: str = "default",
    backend: str = "inductor",
    stages: Sequence[str] | None = None,
) -> Pipeline:
    """Compile each network's forward. mode: of the inductor, as `torch.compile` names them. backend: any of torch's.

    UnsupportedRecipe where the inductor lacks its compiler, and for layers that no tracer gets through.
    """
    import torch._dynamo
    import torch._inductor

    if backend not in (backends := torch._dynamo.list_backends(exclude_tags=())):
        raise unknown("compile backend", backend, backends)
    if mode not in (modes := ["default", *torch._inductor.list_mode_options()]):
        raise unknown("compile mode", mode, modes)
    if backend != "inductor" and mode != "default":
        raise ValueError(f"mode: {mode} is not possible with the backend {backend}; only the inductor has modes")
    stages = stages_to_change(pipeline, stages)
    for part in (part for stage in stages for part in pipeline.networks[stage].modules()):
        for module, reason in UNTRACEABLE.items():
            if type(part).__module__.startswith(module):
                raise UnsupportedRecipe(reason)
    if backend == "inductor":
        if reason := why_absent(device):
            raise UnsupportedRecipe(reason)
        torch._inductor.config.compile_threads = 1  # else its pool of processes stays beside the measurement
    how = {"backend": backend} | ({"mode": mode} if backend == "inductor" else {})
    for stage in stages:
        replace_forward(pipeline.networks[stage], lambda forward: compiled(forward, **how))
    return pipeline


def compiled(forward: Callable[..., Any], **how: str) -> Callable[..., Any]:
    """A function compiled at its first call, which raises UnsupportedRecipe where torch's compiler cannot."""
    fast = torch.compile(forward, fullgraph=True, dynamic=False, **how)
    own = copied if how.get("mode") in CUDA_GRAPH_MODES else lambda answer, found: answer

    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return own(fast(*arguments, **named), [])
        except TorchDynamoException as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "it does not say why")
            raise UnsupportedRecipe(f"torch.compile cannot compile this: {reason}") from error

    return call


def why_absent(device: torch.device) -> str | None:
    """Which compiler the inductor lacks for this device, or None."""
    if device.type == "cuda":
        missing = importlib.util.find_spec("triton") is None
        return "torch.compile needs triton on a GPU, which this torch came without" if missing else None
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler on a processor, and {compiler} is not installed"
    return None
