"""The optimizations, one literal entry each: a name, and the techniques it composes, in order. Without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from suite.names import UnknownName, unknown

REFERENCE = "fp32"
ORIGINAL = "original"  # the authors' own code, which `speedup_vs_original` is taken to


class UnsupportedRecipe(RuntimeError):
    """A technique finds at run time that this machine cannot do it; says why."""


@dataclass(frozen=True)
class Technique:
    """One step of a recipe: "module:function", called as function(pipeline, device, **parameters) -> pipeline."""

    name: str  # becomes a pytest mark
    apply: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Optimization:
    name: str
    techniques: tuple[Technique, ...] = ()
    source: str
    simulated: bool = False  # arithmetic is imitated: quality is true, latency would not be
    smoke: bool = False
    unsupported: dict[str, str] = field(default_factory=dict)  # device -> why not


def _steps(count: int) -> Technique:
    return Technique("steps", "suite.optimizations.steps:set_steps", {"steps": count})


def _not_cuda(reason: str) -> dict[str, str]:
    return dict.fromkeys(("t4", "orin", "h100"), reason)


NO_BF16 = {"t4": "Turing has no bfloat16 arithmetic"}
KARRAS = "Karras et al. 2022, arXiv:2206.00364, algorithm 2"

OPTIMIZATIONS = {
    optimization.name: optimization
    for optimization in (
        Optimization(name=REFERENCE, source="the models' own recipe: eager, SDPA, TF32 off, 64 Heun steps", smoke=True),
        Optimization(
            name="bf16",
            techniques=(Technique("precision", "suite.optimizations.precision:cast", {"dtype": "bfloat16"}),),
            source="weights and activations in bfloat16, sampler in float32",
            unsupported=NO_BF16,
        ),
        Optimization(
            name=ORIGINAL,
            techniques=(Technique("original", "suite.optimizations.original:use_original"),),
            source="OpenAI's own code and sampler as shipped, where installed: docs/parity.md",
        ),
        Optimization(
            name="onednn",
            techniques=(Technique("onednn", "suite.optimizations.onednn:use_onednn"),),
            source="float32 Linear layers, and their GELU, through oneDNN instead of torch's BLAS; 1e-6 of the reference",
            unsupported=_not_cuda("oneDNN's Linear layers are for the CPU"),
        ),
        Optimization(
            name="int8-fbgemm-linear",
            techniques=(Technique("quantization", "suite.optimizations.dynamic_int8:quantize", {"engine": "fbgemm"}),),
            source="Zhang et al., EMS'23, doi:10.1145/3609395.3610594: PyTorch (FBGEMM), Linear",
            unsupported=_not_cuda("FBGEMM is an x86 CPU engine"),
        ),
        Optimization(
            name="int8-all",
            techniques=(
                _steps(16),
                Technique("quantization", "suite.optimizations.simulated_integers:quantize", {"weight_bits": 8, "activation_bits": 8}),
            ),
            source="static W8A8 of every layer, on 16 steps; Jacob et al. 2018, arXiv:1712.05877",
            simulated=True,
        ),
        Optimization(
            name="w3",
            techniques=(
                _steps(16),
                Technique("quantization", "suite.optimizations.simulated_integers:quantize", {"weight_bits": 3, "activation_bits": None}),
            ),
            source="weights of 3 bits, a scale an output channel, on 16 steps; Nagel et al. 2021, arXiv:2106.08295",
            simulated=True,
        ),
        Optimization(name="steps-32", techniques=(_steps(32),), source=KARRAS),
        Optimization(name="steps-16", techniques=(_steps(16),), source=KARRAS, smoke=True),
        Optimization(name="steps-8", techniques=(_steps(8),), source=KARRAS, smoke=True),
        Optimization(name="steps-4", techniques=(_steps(4),), source=KARRAS, smoke=True),
    )
}  # fmt: skip


def find_optimization(name: str) -> Optimization:
    """An entry, or several composed: `bf16+steps-16`."""
    if name in OPTIMIZATIONS:
        return OPTIMIZATIONS[name]
    if "+" in name:
        return composed(name)
    raise unknown("optimization", name, OPTIMIZATIONS)


ARITHMETIC = {"precision", "quantization", "onednn", "original"}  # techniques that say what the networks compute in


class ImpossibleComposition(UnknownName):
    """Recipes that cannot be one; says which techniques are in each other's way."""


def composed(name: str) -> Optimization:
    """The recipe that entries joined by "+" make, their techniques in that order.

    ImpossibleComposition where two of them set the same thing: each technique once, and one kind of arithmetic.
    """
    parts = [find_optimization(part) for part in name.split("+")]
    held: dict[str, str] = {}  # what is set -> by which part
    for part in parts:
        if not part.techniques:
            raise ImpossibleComposition(f"{name}: {part.name} is the reference, and adds nothing to another recipe")
        for kind in {"arithmetic" if t.name in ARITHMETIC else t.name for t in part.techniques}:
            if kind in held:
                raise ImpossibleComposition(
                    f"{name}: {held[kind]} and {part.name} both set the {kind}; take one of them"
                )
            held[kind] = part.name
    return Optimization(
        name=name,
        techniques=tuple(technique for part in parts for technique in part.techniques),
        source="; ".join(f"{part.name}: {part.source}" for part in parts),
        simulated=any(part.simulated for part in parts),
        unsupported={device: why for part in parts for device, why in part.unsupported.items()},
    )
