"""The diffusion networks as ONNX graphs, each input and output with its name and a batch of any size.

torch's exporter by tracing (`dynamo=False`): it needs nothing but `onnx`, is in every torch since 2.4, a Jetson's
included, and gave the same arithmetic as the newer exporter in a tenth of the time (0.3 against 4 s a network, torch
2.13). https://docs.pytorch.org/docs/stable/onnx.html
"""

from __future__ import annotations

import hashlib
import inspect
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.checkpoints.embedded import sha256_of
from suite.models.point_e.network import (
    CHANNELS,
    PUBLISHED,
    Float32Linear,
    PointDiffusionTransformer,
    PointTransformerSettings,
)
from suite.models.point_e.pipeline import NANO_IMAGE
from suite.models.point_e.upsampler import Context, PointUpsampler

PICTURE_TOKENS = {s.clip_width: s.clip_tokens for s in (NANO_IMAGE, PUBLISHED["base40M"])}
"""How many a CLIP of some width gives of a picture."""

OPSET = 20  # the first with GELU
EXAMPLE_BATCH = 2
GRAPH, TENSORS = "graph.onnx", "tensors.bin"
HEADS = "heads"  # of the network's attention, among the graph's properties


@dataclass
class Part:
    """One graph of a network: a module whose `forward` takes the inputs in their order."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]  # an example of EXAMPLE_BATCH rows
    outputs: tuple[str, ...]
    heads: int


class Evaluation(nn.Module):
    """A point transformer or a prior, with float32 at both ends whatever it computes in."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, x: Tensor, t: Tensor, *conditions: Tensor) -> Tensor:
        return self.network(x, t, **dict(zip(self.names, conditions))).float()


class PriorEvaluation(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, clip: Tensor) -> Tensor:
        dtype = self.network.dtype
        made = self.network(x.to(dtype), timestep=t, proj_embedding=clip.to(dtype), return_dict=False)
        return made[0].float()


class UpsamplerContext(nn.Module):
    """What an object's evaluations share, as a row of tensors."""

    def __init__(self, network: PointUpsampler):
        super().__init__()
        self.network = network

    def forward(self, low_resolution: Tensor, clip: Tensor) -> tuple[Tensor, ...]:
        return flat(self.network.context(low_resolution, clip))


class UpsamplerEvaluation(nn.Module):
    def __init__(self, network: PointUpsampler):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: Tensor, *context: Tensor) -> Tensor:
        return self.network(x, sigma, unflat(context))


def flat(context: Context) -> tuple[Tensor, ...]:
    return (context.xyz, context.rgb, context.local, *(each for pair in context.keys_values for each in pair))


def unflat(tensors: tuple[Tensor, ...]) -> Context:
    xyz, rgb, local, *pairs = tensors
    return Context(xyz, rgb, local, list(zip(pairs[::2], pairs[1::2])))


def is_prior(network: nn.Module) -> bool:
    """diffusers' PriorTransformer, asked without importing diffusers for those that do without."""
    made = sys.modules.get("diffusers.models.transformers.prior_transformer")
    return made is not None and isinstance(network, made.PriorTransformer)


@torch.no_grad()
def parts_of(network: nn.Module) -> list[Part]:
    """The graphs that a network becomes. UnsupportedRecipe for one that nobody has written this for."""
    generator = torch.Generator().manual_seed(0)
    device = next(network.parameters()).device

    def noise(*shape: int) -> Tensor:
        return torch.randn(EXAMPLE_BATCH, *shape, generator=generator).to(device)

    level = torch.full((EXAMPLE_BATCH,), 0.25, device=device)
    if isinstance(network, PointDiffusionTransformer):
        settings = network.settings
        inputs, heads = {"x": noise(CHANNELS, settings.points), "t": 1000 * level}, settings.heads
        if settings.conditioning != "none":
            inputs["clip"] = noise(*condition_shape(settings))
        if settings.conditioning == "grid+points":
            inputs["low_resolution"] = noise(CHANNELS, settings.low_resolution_points)
        return [Part("evaluation", Evaluation(network, tuple(inputs)[2:]), inputs, ("predicted",), heads)]
    if isinstance(network, PointUpsampler):
        settings = network.settings
        before = {
            "low_resolution": noise(CHANNELS, settings.low_resolution_points),
            "clip": nn.functional.normalize(noise(settings.clip_width), dim=-1),
        }
        context = flat(network.context(**before))
        names = (
            "xyz",
            "rgb",
            "local",
            *(f"{what}_{i}" for i in range(len(network.blocks)) for what in ("key", "value")),
        )
        inputs = {"x": noise(CHANNELS, settings.points), "sigma": level} | dict(zip(names, context))
        heads = settings.heads
        return [
            Part("context", UpsamplerContext(network), before, names, heads),
            Part("evaluation", UpsamplerEvaluation(network), inputs, ("predicted",), heads),
        ]
    if is_prior(network):
        clip_width = network.embedding_proj.in_features
        pictures = network.embedding_proj_norm is not None
        clip = (PICTURE_TOKENS[clip_width], clip_width) if pictures else (clip_width,)
        latent = (network.positional_embedding.shape[1], network.proj_in.in_features)
        inputs = {"x": noise(*latent), "t": 1000 * level, "clip": noise(*clip)}
        return [Part("evaluation", PriorEvaluation(network), inputs, ("predicted",), network.num_attention_heads)]
    raise UnsupportedRecipe(f"no ONNX graph is known for a {type(network).__name__}")


def condition_shape(settings: PointTransformerSettings) -> tuple[int, ...]:
    """Of one row of `clip`."""
    tokens = () if settings.conditioning == "vector" else (settings.clip_tokens,)
    return (*tokens, settings.clip_width)


@torch.no_grad()
def export(part: Part, folder: Path) -> None:
    """Write the part's graph, its tensors in a file beside it, so that no size is too large and they can be mapped."""
    import onnx

    inputs, outputs = list(part.inputs), list(part.outputs)
    traced = folder / "traced"
    traced.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: that shapes become constants, which only the batch must not
        torch.onnx.export(
            part.module,
            tuple(part.inputs.values()),
            str(traced / GRAPH),
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in inputs + outputs},
        )
    model = onnx.load(traced / GRAPH)
    shutil.rmtree(traced)
    made = part.module(*part.inputs.values())
    for port, tensor in zip(model.graph.output, made if isinstance(made, tuple) else (made,), strict=True):
        for dimension, size in zip(port.type.tensor_type.shape.dim[1:], tensor.shape[1:], strict=True):
            dimension.dim_value = size  # the tracer does not know them all, and a reader makes room by them
    onnx.helper.set_model_props(model, {HEADS: str(part.heads)})
    write(model, folder)


def write(model: object, folder: Path) -> None:
    import onnx

    onnx.save_model(
        model,
        folder / GRAPH,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=TENSORS,
        size_threshold=1024,
    )


def exact_layers(network: nn.Module) -> list[str]:
    """Names of the layers that compute in float32 whatever is around them."""
    return [name for name, part in network.named_modules() if isinstance(part, Float32Linear)]


def network_sha256(network: nn.Module) -> str:
    """Of its tensors, of its settings (how many heads no tensor tells), and of the code that uses them."""
    settings = getattr(network, "settings", None) or dict(getattr(network, "config", {}))
    digest = hashlib.sha256(repr(settings).encode())
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}  # those that no file holds, too
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    modules = {type(part).__module__ for part in network.modules()} | {__name__}
    for module in sorted(name for name in modules if name.partition(".")[0] != "torch"):
        digest.update(Path(inspect.getfile(sys.modules[module])).read_bytes())
    return digest.hexdigest()


def graph_sha256(folder: Path) -> list[str]:
    """Of a graph and of its tensors."""
    return [sha256_of(folder / name) for name in (GRAPH, TENSORS) if (folder / name).exists()]
