"""ONNX Runtime's TensorRT provider: options, and engines kept by TensorRT's version, the chip and the graph's hash.

https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html. Not run on the real thing.
TensorRT 8.5 read operators up to opset 17 (docs/operators.md of onnx/onnx-tensorrt); these graphs are of 20: take 10.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch

from suite.catalogue.recipes import UnsupportedRecipe
from suite.optimizations.onnx.cache import Key, filled_in_place
from suite.optimizations.onnx.export import GRAPH, graph_sha256
from suite.optimizations.onnx.session import Session, onnxruntime

NAME = "TensorrtExecutionProvider"
LIBRARIES = ("libnvinfer.so", "libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8")
USUAL_ROWS = MOST_ROWS = 2  # one object under guidance, as the suite times and scores them; room is made for the most


def open_engine(name: str, folder: Path, device: torch.device, arithmetic: str) -> Session:
    """A session whose whole graph TensorRT runs. UnsupportedRecipe where it cannot."""
    if device.type != "cuda":
        raise UnsupportedRecipe(f"TensorRT needs an NVIDIA GPU, and this is {device}")
    with filled_in_place(f"{name} engine", engine_key(folder, device, arithmetic)) as engines:
        try:
            session = Session(folder / GRAPH, device, [(NAME, options(folder, engines, device, arithmetic))])
        except Exception as error:  # noqa: BLE001 - the provider has no error class of its own
            raise UnsupportedRecipe(f"TensorRT does not run the graph {folder.name}: {error}") from error
        if session.session.get_providers()[0] != NAME:
            raise UnsupportedRecipe(f"TensorRT did not start: {', '.join(session.session.get_providers())} is left")
        rows = {
            port: torch.zeros(USUAL_ROWS, *shape, dtype=dtype, device=device)
            for port, (dtype, shape) in session.inputs.items()
        }
        session(**rows)  # what is built at the first run belongs to loading, too
    return session


def engine_key(folder: Path, device: torch.device, arithmetic: str) -> Key:
    """What an engine depends on: it runs on no other chip and with no other version."""
    chip = torch.cuda.get_device_properties(device)
    return {
        "graph": graph_sha256(folder),
        "arithmetic": arithmetic,
        "tensorrt": tensorrt_version(),
        "onnxruntime": onnxruntime(NAME).__version__,
        "chip": [chip.name, chip.major, chip.minor, chip.multi_processor_count],
        "rows": [1, USUAL_ROWS, MOST_ROWS],
    }


def tensorrt_version() -> str:
    """Of the library that the provider loads, as TensorRT says it itself. UnsupportedRecipe where there is none."""
    for name in LIBRARIES:
        try:
            return str(ctypes.CDLL(name).getInferLibVersion())
        except OSError:
            continue
    raise UnsupportedRecipe(f"TensorRT is not installed: none of {', '.join(LIBRARIES)} can be loaded")


def options(folder: Path, engines: Path, device: torch.device, arithmetic: str) -> dict[str, Any]:
    """The provider's. In integers the pairs in the graph say what is rounded, and all else stays in float32, so that
    the same graph on a processor stands for it."""
    shapes = input_shapes(folder)

    def profile(rows: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, (rows, *shape)))}" for name, shape in shapes.items())

    return {
        "device_id": device.index or 0,
        "trt_fp16_enable": arithmetic == "float16",
        "trt_int8_enable": arithmetic.startswith("int8"),
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(engines),
        "trt_profile_min_shapes": profile(1),
        "trt_profile_opt_shapes": profile(USUAL_ROWS),
        "trt_profile_max_shapes": profile(MOST_ROWS),
    }


def input_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """By input, without the batch."""
    import onnx

    graph = onnx.load(folder / GRAPH, load_external_data=False).graph
    return {port.name: tuple(d.dim_value for d in port.type.tensor_type.shape.dim[1:]) for port in graph.input}
