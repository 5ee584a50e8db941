"""The diffusion networks through ONNX Runtime, in float32, float16 or 8-bit integers, on a processor or with TensorRT.

The paper's "TensorRT, Linear" and "TensorRT, All" (Zhang et al., EMS'23, doi:10.1145/3609395.3610594): on a processor
the very same graph runs, so its quality stands for theirs. Relative to fp32 on the same inputs: 1e-5 an evaluation in
float32; over a whole sampling 0.07 (int8 ranged at each call), 0.1 (Linear layers) and 0.3 (all). float16 is for GPUs,
where none has been measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from suite.catalogue.recipes import UnsupportedRecipe
from suite.devices.heap import release_freed_memory
from suite.models.pipeline import Pipeline
from suite.names import unknown
from suite.optimizations.layers import stages_to_change
from suite.optimizations.onnx import tensorrt as onnx_tensorrt
from suite.optimizations.onnx.export import GRAPH
from suite.optimizations.onnx.graphs import ARITHMETICS, for_processor, graphs
from suite.optimizations.onnx.session import CPU, Session, in_place_of, onnxruntime

# Relative to fp32 on the same inputs: float32 an evaluation, integers over those of a whole sampling of an embedded
# network. Measured in November 2026: 8e-7; 0.002 to 0.05; 0.003 to 0.07; 0.02 to 0.22 (we suppose by probabilities of
# attention, of which 8 bits with a sign keep 7).
TOLERANCES = {"float32": 1e-5, "int8-dynamic": 0.07, "int8-linear": 0.1, "int8-all": 0.3}


def on_processor(name: str, folder: Path, device: torch.device, arithmetic: str) -> Session:
    """A session on this machine's processor. UnsupportedRecipe for a pipeline that is elsewhere."""
    if not torch.empty(0, device=device).is_cpu:
        raise UnsupportedRecipe(f"ONNX Runtime's kernels for the processor do not run on {device}")
    return Session(for_processor(name, folder) / GRAPH, device, [CPU])


Open = Callable[[str, Path, torch.device, str], Session]
PROVIDERS: dict[str, tuple[str, Open]] = {
    "cpu": (CPU[0], on_processor),
    "tensorrt": (onnx_tensorrt.NAME, onnx_tensorrt.open_engine),
}


def use_onnx(
    pipeline: Pipeline,
    device: torch.device,
    *,
    arithmetic: str,
    provider: str = "cpu",
    stages: Sequence[str] | None = None,
) -> Pipeline:
    """Replace the chosen stages' networks by sessions. UnsupportedRecipe where a package or the provider is absent."""
    if arithmetic not in ARITHMETICS:
        raise unknown("arithmetic", arithmetic, ARITHMETICS)
    if provider not in PROVIDERS:
        raise unknown("provider", provider, PROVIDERS)
    wanted, opened = PROVIDERS[provider]
    onnxruntime(wanted)
    for stage, parts in graphs(pipeline, stages_to_change(pipeline, stages), arithmetic).items():
        runs = {
            part: opened(f"{pipeline.model} {stage} {part} {arithmetic}", folder, device, arithmetic)
            for part, folder in parts.items()
        }
        pipeline.networks[stage] = in_place_of(pipeline.networks[stage], runs)
    release_freed_memory()
    return pipeline
