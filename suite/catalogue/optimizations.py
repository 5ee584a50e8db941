"""The optimizations, one literal entry each: a name, and the techniques it composes, in order. Without torch."""

from __future__ import annotations

from suite.catalogue.recipes import ARITHMETIC, ORIGINAL, Optimization, Place, RunsOn, Technique, composed
from suite.names import unknown

REFERENCE = "fp32"
# Of techniques that say what the networks compute in.
COMPUTES = {"sets": (ARITHMETIC,), "place": Place.ARITHMETIC}
NO_MATRIX: tuple[str, ...] = ()  # of a recipe that runs only when it is named
GPUS = ("cuda",)  # the matrix of a recipe that costs a processor minutes a cell and is a step towards another


def _steps(count: int, **sampling: object) -> Technique:
    return Technique("steps", "suite.optimizations.sampling.steps:set_steps", {"steps": count} | sampling, samples=True)


# Of stages that go on from what the one before made: one evaluation, from where its points are nearly right, and not
# all the way to the predicted points, which lie together and leave holes. Chosen on captions that are not scored
# (docs/fast-recipes.md).
FEW = {"steps": 1, "solver": "euler", "spacing": "trailing", "sigma_max": 0.06, "sigma_end": 0.03}


def _dpmpp(count: int) -> Technique:
    return _steps(count, solver="dpmpp-2m", spacing="trailing", later=FEW)


def _fewer(name: str, technique: Technique, source: str, in_the_matrix: bool = False) -> Optimization:
    """Fewer steps of a solver. Of the many there are, few are in the matrix; benchmarks/fewer_steps.py compares all."""
    return Optimization(
        name=name, techniques=(technique,), source=source, in_matrix_of=None if in_the_matrix else NO_MATRIX
    )


def _distilled(count: int) -> Optimization:
    """A student for the first diffusion stage, and few evaluations of those that go on from there."""
    parameters = {"evaluations": count, "later": FEW}
    return Optimization(
        name=f"distilled-{count}",
        techniques=(
            Technique(
                "distillation",
                "suite.optimizations.sampling.distilled:use_student",
                parameters,
                sets=("steps", "guidance"),
                place=Place.NETWORKS,
            ),
        ),
        source="a student network: Luhman & Luhman 2021, arXiv:2101.02388; Meng et al. 2022, arXiv:2210.03142",
    )


def _pictures(count: int) -> Optimization:
    return Optimization(
        name=f"pictures-{count}",
        techniques=(
            Technique(
                "pictures",
                "suite.optimizations.sampling.picture_steps:set_picture_steps",
                {"steps": count},
                samples=True,
            ),
        ),
        source="fewer steps of the embedded text-to-image network; Liu et al. 2022, arXiv:2209.03003",
        in_matrix_of=NO_MATRIX,
    )


def _dynamic_int8(engine: str, **parameters: object) -> Technique:
    """torch.ao's: one range of activations for the whole batch at hand."""
    apply = "suite.optimizations.arithmetic.dynamic_int8:quantize"
    return Technique("quantization", apply, {"engine": engine} | parameters, one_at_a_time=True, **COMPUTES)


def _onnx(name: str, arithmetic: str, provider: str) -> Technique:
    parameters = {"arithmetic": arithmetic, "provider": provider}
    static = arithmetic in ("int8-linear", "int8-all")
    alone = arithmetic == "int8-dynamic" or provider == "tensorrt"
    apply = "suite.optimizations.onnx.technique:use_onnx"
    return Technique(name, apply, parameters, looks=static, one_at_a_time=alone, **COMPUTES)


def _on_cpu(why_not_elsewhere: str) -> tuple[RunsOn, ...]:
    return (RunsOn(("cpu",), why_not_elsewhere),)


TENSORRT = (RunsOn(("cuda",), "TensorRT needs an NVIDIA GPU"),)
ONNX_CPU = "ONNX Runtime's kernels for the processor; the tensorrt recipes are for GPUs"
EMS23 = "Zhang et al., EMS'23, doi:10.1145/3609395.3610594"
KARRAS = "Karras et al. 2022, arXiv:2206.00364, algorithm 2"

TRAILING = "Lin et al. 2023, arXiv:2305.08891"
DPMPP = f"DPM-Solver++(2M) on evenly spaced times; Lu et al. 2022, arXiv:2211.01095; {TRAILING}"
UNIPC = "UniPC of order 2; Zhao et al. 2023, arXiv:2302.04867"
COUNTS = (64, 32, 16, 8, 4, 2)

OPTIMIZATIONS = {
    optimization.name: optimization
    for optimization in (
        Optimization(name=REFERENCE, source="the models' own recipe: eager, SDPA, TF32 off, 64 Heun steps"),
        Optimization(
            name="bf16",
            techniques=(
                Technique(
                    "precision", "suite.optimizations.arithmetic.precision:cast", {"dtype": "bfloat16"}, **COMPUTES
                ),
            ),
            source="weights and activations in bfloat16, sampler in float32",
            needs=("bfloat16",),
        ),
        Optimization(
            name=ORIGINAL,
            techniques=(
                Technique(
                    "original",
                    "suite.optimizations.original:use_original",
                    one_at_a_time=True,
                    place=Place.ARITHMETIC,
                    sets=(ARITHMETIC, "guidance", "decoder", "views", "attention", "smoothquant"),
                ),
            ),
            source="OpenAI's own code and sampler as shipped, where installed: docs/parity.md",
        ),
        Optimization(
            name="onednn",
            techniques=(Technique("onednn", "suite.optimizations.arithmetic.onednn:use_onednn", **COMPUTES),),
            source=(
                "float32 Linear layers, and their GELU, through oneDNN instead of torch's BLAS; "
                "within 1e-5 of the reference"
            ),
            runs_on=_on_cpu("oneDNN's Linear layers are for the CPU"),
        ),
        Optimization(
            name="int8-fbgemm-linear",
            techniques=(_dynamic_int8("fbgemm"),),
            source="Zhang et al., EMS'23, doi:10.1145/3609395.3610594: PyTorch (FBGEMM), Linear",
            runs_on=_on_cpu("FBGEMM is an x86 CPU engine"),
        ),
        Optimization(
            name="int8-all",
            techniques=(
                _steps(16),
                Technique(
                    "quantization",
                    "suite.optimizations.arithmetic.simulated_integers:quantize",
                    {"weight_bits": 8, "activation_bits": 8},
                    looks=True,
                    **COMPUTES,
                ),
            ),
            source="static W8A8 of every layer, on 16 steps; Jacob et al. 2018, arXiv:1712.05877",
            simulated=True,
        ),
        Optimization(
            name="w3",
            techniques=(
                _steps(16),
                Technique(
                    "quantization",
                    "suite.optimizations.arithmetic.simulated_integers:quantize",
                    {"weight_bits": 3, "activation_bits": None},
                    **COMPUTES,
                ),
            ),
            source="weights of 3 bits, a scale an output channel, on 16 steps; Nagel et al. 2021, arXiv:2106.08295",
            simulated=True,
        ),
        *(
            _fewer(f"steps-{count}", _steps(count), KARRAS, in_the_matrix=count > 2)
            for count in COUNTS[1:]  # fp32 has 64
        ),
        *(_fewer(f"dpmpp-{count}", _dpmpp(count), DPMPP, in_the_matrix=count <= 16) for count in COUNTS),
        *(
            _fewer(f"{name}-{count}", _steps(count, solver=solver, spacing=spacing, later=FEW), source)
            for name, solver, spacing, source in (
                ("euler", "euler", "trailing", f"Euler's method on evenly spaced times; {KARRAS}; {TRAILING}"),
                ("ddim", "euler", "timesteps", "DDIM without noise; Song et al. 2020, arXiv:2010.02502"),
                ("unipc", "unipc", "trailing", f"{UNIPC}, on evenly spaced times; {TRAILING}"),
                # In 4 evaluations Point-E is better on these, Shap-E on the former (docs/fast-recipes.md).
                ("unipc-karras", "unipc", "karras", f"{UNIPC}, on Karras levels"),
            )
            for count in COUNTS
        ),
        Optimization(
            name="one-evaluation",
            techniques=(_dpmpp(1), Technique("guidance", "suite.optimizations.sampling.guidance:drop", samples=True)),
            source=(
                "the sample that the network expects behind pure noise; Ho & Salimans 2022, arXiv:2207.12598, unguided"
            ),
        ),
        *(_distilled(count) for count in (8, 4, 2, 1)),
        *(_pictures(count) for count in (8, 4, 2, 1)),
        Optimization(
            name="copied-points",
            techniques=(
                Technique(
                    "upsampling",
                    "suite.optimizations.sampling.copied_points:copy_points",
                    {"scatter": 0.05},
                    place=Place.NETWORKS,
                    leaves_out="upsampler",
                ),
            ),
            source="no upsampler: its new points are copies of the base's, scattered; what an upsampler has to beat",
            in_matrix_of=NO_MATRIX,
        ),
        Optimization(
            name="sparse-decode",
            techniques=(
                Technique(
                    "decoder", "suite.optimizations.decoding.sparse_decode:refine", {"stride": 3, "margin": 1.25}
                ),
            ),
            source="Shap-E's mesh from the field near its surface alone; Hart 1996, doi:10.1007/s003710050084",
        ),
        Optimization(
            name="coarse-decode",
            techniques=(
                Technique(
                    "decoder",
                    "suite.optimizations.decoding.sparse_decode:refine",
                    {"stride": 3, "margin": 1.25, "coarser": 2},
                ),
            ),
            source="sparse-decode on half as many points along each axis; Hart 1996, doi:10.1007/s003710050084",
            in_matrix_of=NO_MATRIX,
        ),
        *(
            Optimization(
                name=name,
                techniques=(
                    Technique("views", "suite.optimizations.decoding.sparse_views:skip", {"cells": 32, "fewer": fewer}),
                ),
                source=f"Shap-E's NeRF views without asking empty space{more}; Müller et al. 2022, arXiv:2201.05989",
                in_matrix_of=NO_MATRIX,
            )
            for name, fewer, more in (("sparse-views", 1, ""), ("coarse-views", 2, ", of half the samples"))
        ),
        Optimization(
            name="guidance-interval",
            techniques=(
                Technique(
                    "guidance",
                    "suite.optimizations.sampling.guidance:limit",
                    {"low_sigma": 0.3, "high_sigma": 5.0},
                    samples=True,
                ),
            ),
            source="guidance at middle noise only; Kynkäänniemi et al. 2024, arXiv:2404.07724",
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="bf16-attention",
            techniques=(
                Technique(
                    "attention", "suite.optimizations.execution.block_attention:use_blocks", place=Place.ATTENTION
                ),
            ),
            source="attention's products in bfloat16, block by block; Rabe & Staats 2021, arXiv:2112.05682",
            runs_on=_on_cpu("a GPU's attention is fused; bf16 computes it in bfloat16"),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="merged-tokens",
            techniques=(
                Technique(
                    "merged-tokens", "suite.optimizations.execution.merged_tokens:merge", looks=True, place=Place.CALLS
                ),
            ),
            source="equal tokens of an absent condition as one, exactly; Bolya et al. 2023, arXiv:2210.09461",
            runs_on=_on_cpu("it looks at the conditions of each call, for which a GPU would wait"),
            in_matrix_of=NO_MATRIX,
        ),
        # Applied to the networks as torch has them.
        Optimization(
            name="fp16",
            techniques=(
                Technique(
                    "precision", "suite.optimizations.arithmetic.precision:cast", {"dtype": "float16"}, **COMPUTES
                ),
            ),
            source=(
                "weights and activations in float16, sampler in float32; "
                "unsupported by processors without its arithmetic"
            ),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="compile",
            techniques=(
                Technique(
                    "compile",
                    "suite.optimizations.execution.compiled:compile_networks",
                    one_at_a_time=True,
                    place=Place.COMPILATION,
                ),
            ),
            source="torch.compile, the inductor's default mode; Ansel et al. 2024, doi:10.1145/3620665.3640366",
        ),
        Optimization(
            name="cuda-graphs",
            techniques=(
                Technique(
                    "cuda-graphs",
                    "suite.optimizations.execution.cuda_graphs:use_cuda_graphs",
                    one_at_a_time=True,
                    place=Place.CALLS,
                ),
            ),
            source="each network evaluation one CUDA graph: PyTorch's notes on CUDA; not run on a GPU yet",
            runs_on=(RunsOn(("cuda",), "CUDA graphs need a CUDA device"),),
        ),
        Optimization(
            name="int8-fbgemm-upsampler",
            techniques=(_dynamic_int8("fbgemm", stages=("upsampler",)),),
            source="int8-fbgemm-linear in the upsampler alone; Zhang et al., EMS'23, doi:10.1145/3609395.3610594",
            runs_on=_on_cpu("FBGEMM is an x86 CPU engine"),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="int8-onednn-linear",
            techniques=(_dynamic_int8("onednn"),),
            source="int8-fbgemm-linear's integers by oneDNN; docs.pytorch.org/docs/stable/quantization.html",
            runs_on=_on_cpu("torch's oneDNN engine is for the CPU"),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="int8-qnnpack-linear",
            techniques=(_dynamic_int8("qnnpack"),),
            source="int8-fbgemm-linear's integers by QNNPACK, for ARM processors; not run on one yet",
            runs_on=_on_cpu("QNNPACK is an ARM CPU engine"),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="int8-torchao-linear",
            techniques=(Technique("quantization", "suite.optimizations.arithmetic.torchao_int8:quantize", **COMPUTES),),
            source=(
                "torchao's dynamic int8, the successor of int8-fbgemm-linear's: docs.pytorch.org/ao; extra `torchao`"
            ),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="w8",
            techniques=(
                Technique("weight-only", "suite.optimizations.arithmetic.weight_only:pack", {"bits": 8}, **COMPUTES),
            ),
            source=(
                "weights stored in 8 bits, a scale an output channel, arithmetic in their own type; "
                "Frantar et al. 2022, arXiv:2210.17323"
            ),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="w4",
            techniques=(
                Technique(
                    "weight-only",
                    "suite.optimizations.arithmetic.weight_only:pack",
                    {"bits": 4, "group": 32},
                    **COMPUTES,
                ),
            ),
            source=(
                "weights stored in 4 bits, a scale for 32, arithmetic in their own type; "
                "Frantar et al. 2022, arXiv:2210.17323"
            ),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="mixed",
            techniques=(
                Technique(
                    "mixed",
                    "suite.optimizations.arithmetic.mixed:choose",
                    {"layers": {"*blocks.*": "w8", "*blocks.middle.*": "w4"}},
                    **COMPUTES,
                ),
            ),
            source=(
                "by hand: blocks stored in 8 bits, those in the middle in 4, all else float32; "
                "Li et al. 2023, arXiv:2302.04304"
            ),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="smoothquant",
            techniques=(
                Technique(
                    "smoothquant",
                    "suite.optimizations.arithmetic.smooth_quant:smooth",
                    {"alpha": 0.5},
                    looks=True,
                    place=Place.SCALES,
                ),
            ),
            source=(
                "outliers of activations moved into the weights, for an int8 recipe behind it; "
                "Xiao et al. 2022, arXiv:2211.10438"
            ),
            in_matrix_of=GPUS,
        ),
        # Through ONNX Runtime: the same graphs on a processor and with TensorRT.
        Optimization(
            name="onnx",
            techniques=(_onnx("onnx", "float32", "cpu"),),
            source="float32 through ONNX Runtime's own kernels: onnxruntime.ai; extra `onnx`",
            runs_on=_on_cpu(ONNX_CPU),
        ),
        Optimization(
            name="int8-onnx-dynamic",
            techniques=(_onnx("quantization", "int8-dynamic", "cpu"),),
            source=(
                "Linear layers in int8, activations ranged at each call: "
                "ONNX Runtime's dynamic quantization; extra `onnx`"
            ),
            runs_on=_on_cpu(ONNX_CPU),
            in_matrix_of=GPUS,
        ),
        Optimization(
            name="int8-onnx-linear",
            techniques=(_onnx("quantization", "int8-linear", "cpu"),),
            source=f"the graph of int8-tensorrt-linear on a processor; {EMS23}; extra `onnx`",
            runs_on=_on_cpu(ONNX_CPU),
        ),
        Optimization(
            name="int8-onnx-all",
            techniques=(_onnx("quantization", "int8-all", "cpu"),),
            source=f"the graph of int8-tensorrt-all on a processor; {EMS23}; extra `onnx`",
            runs_on=_on_cpu(ONNX_CPU),
        ),
        Optimization(
            name="int8-tensorrt-linear",
            techniques=(_onnx("quantization", "int8-linear", "tensorrt"),),
            source=(
                f"static int8 of the Linear layers; {EMS23}: TensorRT, Linear; extra `tensorrt`; not run on a GPU yet"
            ),
            runs_on=TENSORRT,
        ),
        Optimization(
            name="int8-tensorrt-all",
            techniques=(_onnx("quantization", "int8-all", "tensorrt"),),
            source=f"and of attention's products; {EMS23}: TensorRT, All; extra `tensorrt`; not run on a GPU yet",
            runs_on=TENSORRT,
        ),
        Optimization(
            name="fp16-tensorrt",
            techniques=(_onnx("precision", "float16", "tensorrt"),),
            source="weights and activations in float16 by TensorRT; extra `tensorrt`; not run on a GPU yet",
            runs_on=TENSORRT,
        ),
    )
}


def find_optimization(name: str) -> Optimization:
    """An entry, or several composed: `bf16+steps-16`."""
    if name in OPTIMIZATIONS:
        return OPTIMIZATIONS[name]
    if "+" in name:
        return composed(name, [find_optimization(part) for part in name.split("+")])
    raise unknown("optimization", name, OPTIMIZATIONS)
