"""What the tests of the ONNX recipes share: the session's cache of graphs, pipelines, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from suite.configurations import find
from suite.models import official
from suite.optimizations import onnx_calibration
from suite.worker import build

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

CPU = torch.device("cpu")
PROMPTS = ["a small red cube on a large blue ball", "two yellow cones"]


@pytest.fixture(autouse=True)
def shared_cache(graph_cache, monkeypatch) -> Path:
    monkeypatch.setenv(official.CACHE_VARIABLE, str(graph_cache))
    monkeypatch.setattr(onnx_calibration, "PROMPTS", 4)
    return graph_cache / "engines"


def pipeline(recipe: str = "fp32", model: str = "point-e-nano-text"):
    return build(find(f"{model}/{recipe}@cpu"), "embedded", CPU)


def relative(made: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((made.float() - wanted.float()).norm() / wanted.float().norm()).item()
