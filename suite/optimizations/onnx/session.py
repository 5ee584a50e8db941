"""ONNX Runtime's sessions in the place of torch's networks.

Tensors are bound where they lie: nothing is copied between torch and ONNX Runtime, on a processor or on a GPU.
https://onnxruntime.ai/docs/api/python/api_summary.html
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.point_e.network import PointDiffusionTransformer
from suite.models.point_e.upsampler import Context, PointUpsampler
from suite.optimizations.onnx.export import condition_shape, flat, unflat

# Threads wait in a loop for the next operation of a run, and not for the next run: between two, torch computes with
# threads of its own. `benchmarks/onnx_evaluations.py --spinning` compares this with the other ways.
SPINNING = {"session.force_spinning_stop": "1"}
# x86 processors without VNNI add two products of eight bits in sixteen, where they do not always fit. So weights become
# unsigned there, for kernels that add in 32. onnxruntime.ai/docs/performance/model-optimizations/quantization.html
EXACT_SUMS = {"session.x64quantprecision": "1"}
DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
CPU = ("CPUExecutionProvider", {})
Provider = tuple[str, dict[str, Any]]


def onnxruntime(provider: str = CPU[0]):
    """The package. UnsupportedRecipe where it, `onnx` or the provider is absent, with the extra that brings it."""
    extra = "onnx" if provider == CPU[0] else "tensorrt"
    bring = f'`pip install -e ".[{extra}]"` brings it'
    # It writes the graphs. Those of the cache do without it, and without its memory, so it is not imported here.
    if importlib.util.find_spec("onnx") is None:
        raise UnsupportedRecipe(f"onnx is not installed; {bring}")
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedRecipe(f"onnxruntime cannot be imported ({error}); {bring}") from None
    if provider not in (here := onnxruntime.get_available_providers()):
        raise UnsupportedRecipe(
            f"this onnxruntime {onnxruntime.__version__} has no {provider}, but {', '.join(here)}; {bring}"
        )
    return onnxruntime


def session_options():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # the backend set it: suite.devices.cpu.threads
    options.inter_op_num_threads = 1
    for entry, value in (SPINNING | EXACT_SUMS).items():
        options.add_session_config_entry(entry, value)
    options.log_severity_level = 3  # errors
    return options


class Session:
    """One graph. Called with tensors by the names of its inputs, rows alike; gives a tensor an output."""

    def __init__(self, path: Path, device: torch.device, providers: list[Provider]):
        ort = onnxruntime(providers[0][0])
        options = session_options()
        if providers[0] != CPU:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # all of it there, or an error
        self.device = device
        self.session = ort.InferenceSession(str(path), options, providers=providers)
        self.inputs = {port.name: (DTYPES[port.type], port.shape[1:]) for port in self.session.get_inputs()}
        self.outputs = {port.name: (DTYPES[port.type], port.shape[1:]) for port in self.session.get_outputs()}
        self._place = {"device_type": device.type, "device_id": device.index or 0}

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        given = {name: inputs[name].to(dtype).contiguous() for name, (dtype, _) in self.inputs.items()}
        rows = len(next(iter(given.values())))
        made = {
            name: torch.empty((rows, *shape), dtype=dtype, device=self.device)
            for name, (dtype, shape) in self.outputs.items()
        }
        binding = self.session.io_binding()
        for bind, tensors in ((binding.bind_input, given), (binding.bind_output, made)):
            for name, tensor in tensors.items():
                kind = str(tensor.dtype).removeprefix("torch.")
                bind(name, **self._place, element_type=kind, shape=tuple(tensor.shape), buffer_ptr=tensor.data_ptr())
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()  # ONNX Runtime has a stream of its own
        self.session.run_with_iobinding(binding)
        return made


Run = Callable[..., dict[str, Tensor]]
"""A Session, or what stands for one."""


class Evaluations(nn.Module):
    """What all networks here are: without parameters that torch knows of, and with work that it does not see."""

    outside_torch = True
    dtype = torch.float32  # of what it takes and gives

    def __init__(self, runs: dict[str, Run]):
        super().__init__()
        self.runs = runs


class PointTransformer(Evaluations):
    """In the place of a PointDiffusionTransformer."""

    def __init__(self, network: PointDiffusionTransformer, runs: dict[str, Run]):
        super().__init__(runs)
        self.settings = network.settings

    def forward(self, x: Tensor, t: Tensor, clip: Tensor | None = None, low_resolution: Tensor | None = None) -> Tensor:
        """As the network's own."""
        kind = self.settings.conditioning
        if (low_resolution is not None) != (kind == "grid+points"):
            raise ValueError(f"low_resolution is needed by 'grid+points' and by nothing else; this is {kind!r}")
        given = {} if low_resolution is None else {"low_resolution": low_resolution}
        if kind != "none":
            given["clip"] = x.new_zeros(len(x), *condition_shape(self.settings)) if clip is None else clip
        elif clip is not None:
            raise ValueError("an unconditional network takes no clip")
        return self.runs["evaluation"](x=x, t=t, **given)["predicted"]


class Upsampler(Evaluations):
    """In the place of a PointUpsampler."""

    def __init__(self, network: PointUpsampler, runs: dict[str, Run]):
        super().__init__(runs)
        self.settings = network.settings

    def context(self, low_resolution: Tensor, clip: Tensor) -> Context:
        return unflat(tuple(self.runs["context"](low_resolution=low_resolution, clip=clip).values()))

    def forward(self, x: Tensor, sigma: Tensor, context: Context) -> Tensor:
        shared = dict(zip(self.runs["context"].outputs, flat(context)))
        return self.runs["evaluation"](x=x, sigma=sigma, **shared)["predicted"]


class Prior(Evaluations):
    """In the place of a PriorTransformer."""

    def __init__(self, network: nn.Module, runs: dict[str, Run]):
        super().__init__(runs)
        self.mean, self.deviation = (p.detach().clone().float() for p in (network.clip_mean, network.clip_std))

    def forward(self, x: Tensor, timestep: Tensor, proj_embedding: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        return (self.runs["evaluation"](x=x, t=timestep, clip=proj_embedding)["predicted"],)

    def post_process_latents(self, latents: Tensor) -> Tensor:
        return latents * self.deviation + self.mean


def in_place_of(network: nn.Module, runs: dict[str, Run]) -> Evaluations:
    """The same calls as the network's, answered by the graphs that it became, by the names of these."""
    kinds = {PointDiffusionTransformer: PointTransformer, PointUpsampler: Upsampler}
    kind = next((ours for theirs, ours in kinds.items() if isinstance(network, theirs)), Prior)
    return kind(network, runs)
