"""A pipeline's diffusion networks as graphs in the cache, each made where the cache does not have it.

An entry's key is what goes into it: the networks' tensors and code, or another entry's files, and the versions of what
wrote it. So the same graph serves every recipe that leads to it, on every device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch

from suite.models.pipeline import Pipeline
from suite.optimizations.onnx import attention as onnx_attention
from suite.optimizations.onnx import calibration as onnx_calibration
from suite.optimizations.onnx import int8 as onnx_int8
from suite.optimizations.onnx.cache import Key, cached_entry, digest_of
from suite.optimizations.onnx.calibration import Ranges
from suite.optimizations.onnx.export import OPSET, exact_layers, export, graph_sha256, network_sha256, parts_of

ARITHMETICS = ("float32", "float16", "int8-dynamic", "int8-linear", "int8-all")
RANGES = "ranges.json"

Folders = dict[str, dict[str, Path]]
"""By stage and part (`onnx_export.Part`), the folder of a graph."""


def graphs(pipeline: Pipeline, stages: Sequence[str], arithmetic: str) -> Folders:
    """The stages' networks in this arithmetic."""
    if arithmetic == "float16":
        for stage in stages:
            pipeline.networks[stage].half()
    plain = exported(pipeline, stages)
    if arithmetic == "int8-dynamic":
        return {
            stage: {part: _dynamic(pipeline, stage, part, folder) for part, folder in parts.items()}
            for stage, parts in plain.items()
        }
    if arithmetic.startswith("int8"):
        ranges = ranges_of(pipeline, plain)
        return {
            stage: {
                part: _static(pipeline, stage, part, folder, ranges[stage][part], arithmetic)
                for part, folder in parts.items()
            }
            for stage, parts in plain.items()
        }
    return plain


def exported(pipeline: Pipeline, stages: Sequence[str]) -> Folders:
    """As the networks compute, in the type of their weights."""
    made: Folders = {}
    for stage in stages:
        network = pipeline.networks[stage]
        key = versions() | {"opset": OPSET, "network": network_sha256(network)}
        made[stage] = {
            part.name: cached_entry(
                f"{pipeline.model} {stage} {part.name}",
                key | {"part": part.name},
                lambda folder, part=part: export(part, folder),
            )
            for part in parts_of(network)
        }
    return made


def ranges_of(pipeline: Pipeline, plain: Folders) -> dict[str, dict[str, Ranges]]:
    """Of all activations that may be rounded; one calibration serves every recipe."""
    of_graphs = {f"{stage} {part}": graph_sha256(f) for stage, parts in plain.items() for part, f in parts.items()}
    key = versions() | {"graphs": of_graphs, "calibration": onnx_calibration.described(pipeline)}
    key |= code(onnx_calibration, onnx_int8)

    def make(folder: Path) -> None:
        (folder / RANGES).write_text(json.dumps(onnx_calibration.calibrate(pipeline, plain), indent=1))

    return json.loads((cached_entry(f"{pipeline.model} ranges", key, make) / RANGES).read_text())


def _static(pipeline: Pipeline, stage: str, part: str, plain: Path, ranges: Ranges, arithmetic: str) -> Path:
    exact = exact_layers(pipeline.networks[stage])
    key = versions() | {"graph": graph_sha256(plain), "arithmetic": arithmetic, "ranges": digest_of(ranges)}
    key |= {"exact": exact} | code(onnx_int8)

    def make(folder: Path) -> None:
        onnx_int8.static(plain, folder, exact, ranges, attention=arithmetic == "int8-all")

    return cached_entry(f"{pipeline.model} {stage} {part} {arithmetic}", key, make)


def _dynamic(pipeline: Pipeline, stage: str, part: str, plain: Path) -> Path:
    exact = exact_layers(pipeline.networks[stage])
    key = versions() | {"graph": graph_sha256(plain), "arithmetic": "int8-dynamic", "exact": exact} | code(onnx_int8)

    def make(folder: Path) -> None:
        onnx_int8.dynamic(plain, folder, exact)

    return cached_entry(f"{pipeline.model} {stage} {part} int8-dynamic", key, make)


def for_processor(name: str, folder: Path) -> Path:
    """The folder of the same graph with its float32 attention put together."""
    key = versions() | {"graph": graph_sha256(folder)} | code(onnx_attention)
    return cached_entry(f"{name} fused", key, lambda target: onnx_attention.fuse_file(folder, target))


def versions() -> Key:
    import onnxruntime

    return {"torch": torch.__version__, "onnx": version("onnx"), "onnxruntime": onnxruntime.__version__}


def code(*modules: ModuleType) -> dict[str, str]:
    """What says how a graph is changed."""
    return {"code": hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in modules)).hexdigest()}
