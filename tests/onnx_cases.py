"""What the tests of the ONNX recipes share: the session's cache of graphs, pipelines, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from suite.models.checkpoints import official
from tests.techniques import CPU, PROMPTS, calibrate_briefly, pipeline  # noqa: F401 - for those who import from here

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")


@pytest.fixture(autouse=True)
def shared_cache(graph_cache, monkeypatch) -> Path:
    monkeypatch.setenv(official.CACHE_VARIABLE, str(graph_cache))
    calibrate_briefly(monkeypatch)
    return graph_cache / "engines"


def relative(made: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((made.float() - wanted.float()).norm() / wanted.float().norm()).item()
