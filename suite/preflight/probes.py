"""Checks that need torch or a child process: a worker runs them, never pytest's own process."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from suite.catalogue.devices import Device
from suite.machine import Check, State
from suite.preflight.place import Place, graded, told
from suite.records import Status
from suite.worker.execution import look

START_ONNX_RUNTIME = """
import onnxruntime
try:
    from onnx import TensorProto, helper
except ImportError:
    print(onnxruntime.__version__, "was imported; no onnx to try a graph with")
    raise SystemExit
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
import numpy
assert session.run(None, {"x": numpy.array([1, 2], "float32")})[0].tolist() == [2, 4]
print(onnxruntime.__version__, "adds")
"""
ONNX_ADVICE = (
    'recipes through ONNX Runtime end as crashed here; after "Unknown CPU vendor" (Tegra images) mount the host\'s '
    "/sys/devices/system/cpu into the container, or install another version: pip install -U onnxruntime"
)
KERNEL_ADVICE = "install a torch that was built for this chip (docs/setting-up.md)"
BRIDGE_ADVICE = 'install a numpy that this torch was built against: pip install "numpy<2"'


def kernel(place: Place) -> Check:
    """A small matrix product on the device, held against whole numbers."""
    return _asked("real kernel", place.backend.device, "kernel", "a matrix product is right", KERNEL_ADVICE)


def numpy_bridge(device: Device) -> Check:
    """device: whose workers are asked."""
    return _asked("torch and numpy", device, "numpy_bridge", "arrays go to and fro", BRIDGE_ADVICE)


def _asked(name: str, device: Device, part: str, well: str, advice: str) -> Check:
    parts, status, reason = look(device, kernel=part == "kernel")
    if part in parts:
        return told(name, graded(False, parts[part] is not None), parts[part] or well, advice, device.name)
    ended = State.UNKNOWN if status == Status.OK else State.FAIL
    return told(name, ended, f"{status.value}: {reason}", advice, device.name)


def onnx_runtime() -> Check:
    """In a process of its own: on some chips it aborts."""
    name = "ONNX Runtime"
    if importlib.util.find_spec("onnxruntime") is None:
        return told(name, State.UNKNOWN, "not installed; its recipes are unsupported")
    try:
        command = [sys.executable, "-c", START_ONNX_RUNTIME]
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return told(name, State.FAIL, f"{type(error).__name__}: {error}", ONNX_ADVICE)
    said = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()
    last = said[-1] if said else "it said nothing"
    found = last if run.returncode == 0 else f"ended with exit code {run.returncode}: {last}"
    return told(name, graded(run.returncode != 0), found, ONNX_ADVICE)
