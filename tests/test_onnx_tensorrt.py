"""TensorRT's recipes as far as they can be tested without it: options, keys, refusals. Not run on the real thing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from suite.building import build
from suite.catalogue.devices import DEVICES
from suite.catalogue.optimizations import OPTIMIZATIONS
from suite.catalogue.recipes import UnsupportedRecipe
from suite.configurations import find
from suite.models.checkpoints import official
from suite.optimizations.onnx import graphs as onnx_graphs
from suite.optimizations.onnx import session as onnx_session
from suite.optimizations.onnx import tensorrt as onnx_tensorrt
from suite.optimizations.onnx.cache import digest_of
from suite.optimizations.onnx.technique import use_onnx
from tests.techniques import calibrate_briefly

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
RECIPES = ("int8-tensorrt-linear", "int8-tensorrt-all", "fp16-tensorrt")
T4 = SimpleNamespace(name="Tesla T4", major=7, minor=5, multi_processor_count=40)


@pytest.fixture(scope="module")
def graphs(graph_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(official.CACHE_VARIABLE, str(graph_cache))
        calibrate_briefly(patch)
        plain = build(find("point-e-nano-text/fp32@cpu"), "embedded", CPU)
        yield onnx_graphs.graphs(plain, plain.diffusion, "int8-linear")


@pytest.fixture
def gpu(monkeypatch, cache):
    """A machine that says that it has a T4 and TensorRT."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: T4)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(synchronize=lambda: None))
    monkeypatch.setattr(onnx_tensorrt, "tensorrt_version", lambda: "101303")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_tensorrt.NAME, "CPUExecutionProvider"])


@pytest.mark.parametrize("name", RECIPES)
def test_the_processor_is_refused_with_the_reason_and_gpus_are_not(name):
    refused = {device: why for device in DEVICES if (why := OPTIMIZATIONS[name].why_unsupported(DEVICES[device]))}
    assert refused == {"cpu": "TensorRT needs an NVIDIA GPU"}


@pytest.mark.parametrize("name", RECIPES)
def test_without_the_provider_the_extra_that_brings_it_is_named(name):
    if onnx_tensorrt.NAME in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    parameters = OPTIMIZATIONS[name].techniques[0].parameters
    with pytest.raises(UnsupportedRecipe, match=r'has no TensorrtExecutionProvider, but .*install -e "\.\[tensorrt\]"'):
        use_onnx(build(find("point-e-nano-text/fp32@cpu"), "embedded", CPU), CPU, **parameters)


def test_a_provider_without_a_gpu_is_refused(graphs, gpu):
    with pytest.raises(UnsupportedRecipe, match="TensorRT needs an NVIDIA GPU, and this is cpu"):
        onnx_tensorrt.open_engine("x", graphs["base diffusion"]["evaluation"], CPU, "int8-linear")


def test_the_options_name_every_input_from_one_row_to_the_most(graphs, tmp_path):
    folder = graphs["upsampler"]["evaluation"]
    options = onnx_tensorrt.options(folder, tmp_path, GPU, "int8-linear")
    assert options["device_id"] == 1
    assert (options["trt_int8_enable"], options["trt_fp16_enable"]) == (True, False)
    assert options["trt_engine_cache_enable"] and options["trt_engine_cache_path"] == str(tmp_path)
    shapes = dict(part.split(":") for part in options["trt_profile_opt_shapes"].split(","))
    assert shapes["x"] == "2x6x768" and shapes["sigma"] == "2" and shapes["key_0"] == "2x3x257x32"
    least, most = (options[f"trt_profile_{which}_shapes"] for which in ("min", "max"))
    assert "x:1x6x768" in least and f"x:{onnx_tensorrt.MOST_ROWS}x6x768" in most
    half = onnx_tensorrt.options(folder, tmp_path, GPU, "float16")
    assert (half["trt_int8_enable"], half["trt_fp16_enable"]) == (False, True)


def test_an_engines_key_changes_with_chip_version_graph_and_arithmetic(graphs, gpu, monkeypatch):
    base = graphs["base diffusion"]["evaluation"]
    keys = [onnx_tensorrt.engine_key(base, GPU, "int8-linear"), onnx_tensorrt.engine_key(base, GPU, "float16")]
    keys.append(onnx_tensorrt.engine_key(graphs["upsampler"]["evaluation"], GPU, "int8-linear"))
    monkeypatch.setattr(onnx_tensorrt, "tensorrt_version", lambda: "80602")
    keys.append(onnx_tensorrt.engine_key(base, GPU, "int8-linear"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**vars(T4) | {"major": 9}))
    keys.append(onnx_tensorrt.engine_key(base, GPU, "int8-linear"))
    assert len({digest_of(key) for key in keys}) == len(keys)


def test_the_session_is_asked_for_tensorrt_alone_and_a_fallback_is_refused(graphs, gpu, monkeypatch):
    asked = {}

    class InferenceSession:
        def __init__(self, path, options, providers):
            asked.update(path=path, providers=providers)
            asked["fallback"] = options.get_session_config_entry("session.disable_cpu_ep_fallback")

        def get_inputs(self):
            return []

        get_outputs = get_inputs

        def get_providers(self):
            return ["CPUExecutionProvider"]  # what onnxruntime does where TensorRT does not start

    monkeypatch.setattr(onnxruntime, "InferenceSession", InferenceSession)
    folder = graphs["base diffusion"]["evaluation"]
    with pytest.raises(UnsupportedRecipe, match="TensorRT did not start: CPUExecutionProvider is left"):
        onnx_tensorrt.open_engine("x", folder, GPU, "int8-all")
    assert asked["path"] == str(folder / "graph.onnx") and asked["fallback"] == "1"
    assert [name for name, _ in asked["providers"]] == [onnx_tensorrt.NAME]


def test_what_tensorrt_cannot_build_is_unsupported_with_its_words(graphs, gpu, monkeypatch):
    def fail(*arguments, **named):
        raise RuntimeError("no kernel for this node")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(UnsupportedRecipe, match="no kernel for this node"):
        onnx_tensorrt.open_engine("x", graphs["base diffusion"]["evaluation"], GPU, "int8-all")


def test_a_machine_without_the_library_says_so(monkeypatch):
    monkeypatch.setattr(onnx_tensorrt, "LIBRARIES", ("libno-such-tensorrt.so",))
    with pytest.raises(UnsupportedRecipe, match="none of libno-such-tensorrt.so can be loaded"):
        onnx_tensorrt.tensorrt_version()


def test_float16_graphs_are_in_float16_with_float32_at_both_ends(cache):
    plain = build(find("point-e-nano-text/fp32@cpu"), "embedded", CPU)
    made = onnx_graphs.graphs(plain, plain.diffusion, "float16")
    session = onnx_session.Session(made["base diffusion"]["evaluation"] / "graph.onnx", CPU, [onnx_session.CPU])
    assert {dtype for dtype, _ in session.inputs.values()} == {torch.float32}
    wanted = build(find("point-e-nano-text/fp32@cpu"), "embedded", CPU).networks["base diffusion"]
    draws = torch.Generator().manual_seed(0)
    x, clip = torch.randn(2, 6, 256, generator=draws), torch.randn(2, 128, generator=draws)
    given = {"x": x, "t": torch.full((2,), 1001.0), "clip": clip}
    error = (session(**given)["predicted"] - wanted(**given)).norm() / wanted(**given).norm()
    assert 0 < error < 0.01
