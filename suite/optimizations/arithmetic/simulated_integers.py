"""Few-bit integers imitated in float32 (fake quantization): the quality of a recipe before anyone writes its kernels.

Weights: symmetric, one scale an output channel. Activations: asymmetric, one static range a tensor, calibrated on
captions that are not scored. Jacob et al. 2018, arXiv:1712.05877; Nagel et al. 2021, arXiv:2106.08295.
Root mean square difference from float32 on the same noise, 16 steps: at most 0.02 with weights of 8 bits, 0.05 with
activations of 8 bits besides; fewer bits have no tolerance, their loss is what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from suite.models.pipeline import Pipeline, require
from suite.models.sampling.settings import Sampled
from suite.optimizations.layers import stages_to_change
from suite.scenes.gallery import GALLERY

CALIBRATION_PROMPTS = 16
CALIBRATION_STEPS = 16
CLIPPED_SHARE = 1e-4  # of the activations, at either end: a range that keeps every outlier wastes its levels


def quantize(
    pipeline: Pipeline,
    device: object,
    *,
    weight_bits: int,
    activation_bits: int | None,
    stages: Sequence[str] | None = None,
) -> Pipeline:
    """Round the weights, and the inputs if `activation_bits` is given, of every Linear of the diffusion networks."""
    if activation_bits is not None and not 2 <= activation_bits <= 16:
        raise ValueError(f"activation_bits: {activation_bits} is not possible; 2 to 16, or none")
    layers = [
        layer
        for stage in stages_to_change(pipeline, stages)
        for layer in pipeline.networks[stage].modules()
        if isinstance(layer, nn.Linear)
    ]
    ranges = {} if activation_bits is None else _calibrate(pipeline, layers)
    for layer in layers:
        layer.weight = nn.Parameter(round_weights(layer.weight.detach(), weight_bits), requires_grad=False)
        if activation_bits is not None:
            low, high = ranges[layer]
            layer.register_forward_pre_hook(
                lambda _, inputs, low=low, high=high: (round_activations(inputs[0], low, high, activation_bits),)
            )
    return pipeline


def round_weights(weight: Tensor, bits: int) -> Tensor:
    """[out, in] rounded to 2^bits - 1 levels, symmetric around 0, scaled by each row's largest magnitude."""
    if not 2 <= bits <= 16:
        raise ValueError(f"weight_bits: {bits} is not possible; 2 to 16")
    levels = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / levels
    return (weight / scale).round().clamp(-levels, levels) * scale


def round_activations(x: Tensor, low: float, high: float, bits: int) -> Tensor:
    """Clamp to [low, high] and round to 2^bits levels."""
    scale = max(high - low, 1e-12) / (2**bits - 1)
    return ((x.clamp(low, high) - low) / scale).round() * scale + low


def _calibrate(pipeline: Pipeline, layers: list[nn.Linear]) -> dict[nn.Linear, tuple[float, float]]:
    """The range of each layer's inputs."""
    seen: dict[nn.Linear, list[tuple[float, float]]] = {layer: [] for layer in layers}

    def look(layer: nn.Linear, x: Tensor) -> None:
        seen[layer].append(tuple(ends(x).tolist()))

    watch_inputs(pipeline, layers, look)
    return {layer: (min(low for low, _ in pairs), max(high for _, high in pairs)) for layer, pairs in seen.items()}


def ends(x: Tensor) -> Tensor:
    """Between which nearly all of a tensor's values lie: float32 [2], on its device. Of many, some are looked at."""
    values = x.flatten()
    some = torch.linspace(0, values.numel() - 1, min(values.numel(), 8192), device=x.device).long()
    return torch.quantile(
        values[some].float(), values.new_tensor([CLIPPED_SHARE, 1 - CLIPPED_SHARE], dtype=torch.float32)
    )


def watch_inputs(pipeline: Pipeline, layers: Iterable[nn.Module], look: Callable[[nn.Module, Tensor], None]) -> None:
    """Call look(layer, its input) at every call of these layers over whole samplings of tuning captions, which are not
    scored. Leaves the pipeline as it was."""
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: look(layer, inputs[0].detach())) for layer in layers]
    steps, pipeline.steps = require(pipeline, Sampled).steps, CALIBRATION_STEPS
    try:
        pipeline.generate(json.loads(GALLERY.read_text())["tuning"][:CALIBRATION_PROMPTS])
    finally:
        pipeline.steps = steps
        for hook in hooks:
            hook.remove()
