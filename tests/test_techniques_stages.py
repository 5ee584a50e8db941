"""A recipe on chosen stages, and how recipes compose: what is refused says what is possible."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from suite.catalogue.optimizations import OPTIMIZATIONS, find_optimization
from suite.catalogue.recipes import ImpossibleComposition, UnsupportedRecipe
from suite.configurations import all_marks
from suite.names import UnknownName
from suite.optimizations.arithmetic.dynamic_int8 import quantize as dynamic
from suite.optimizations.arithmetic.mixed import choose
from suite.optimizations.arithmetic.onednn import OneDnnLinear, use_onednn
from suite.optimizations.arithmetic.precision import cast, cast_to
from suite.optimizations.arithmetic.simulated_integers import quantize as simulate
from suite.optimizations.arithmetic.smooth_quant import smooth
from suite.optimizations.arithmetic.torchao_int8 import quantize as torchao
from suite.optimizations.arithmetic.weight_only import pack
from suite.optimizations.execution.compiled import compile_networks
from suite.optimizations.execution.cuda_graphs import use_cuda_graphs
from suite.optimizations.layers import stages_to_change
from tests.techniques import CPU, distance, engine_or_skip, linears, objects, pipeline, reference

CUDA = torch.device("cuda")


def test_all_diffusion_stages_are_chosen_unless_some_are_named_and_their_order_is_the_pipelines():
    made = pipeline()
    assert stages_to_change(made, None) == ("base diffusion", "upsampler")
    assert stages_to_change(made, ("upsampler",)) == stages_to_change(made, "upsampler") == ("upsampler",)
    assert stages_to_change(made, ["upsampler", "base diffusion"]) == ("base diffusion", "upsampler")


def test_a_misspelled_stage_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown stage 'upsampeler'; nearest: upsampler"):
        stages_to_change(pipeline(), ("upsampeler",))


def test_no_stage_at_all_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="chooses nothing; one or more of base diffusion, upsampler"):
        stages_to_change(pipeline(), ())


@pytest.mark.parametrize(
    ("model", "stage", "has"),
    [
        ("shap-e-nano-text", "upsampler", "it has latent diffusion"),
        ("point-e-nano-text", "text encoder", "it has base diffusion, upsampler"),  # a stage, and no diffusion
    ],
)
def test_a_stage_that_a_model_lacks_makes_the_recipe_unsupported(model, stage, has):
    with pytest.raises(UnsupportedRecipe, match=f"{model} has no diffusion stage '{stage}'; {has}"):
        stages_to_change(pipeline(model=model), (stage,))


@pytest.mark.parametrize(
    ("technique", "device", "parameters"),
    [
        (cast, CPU, {"dtype": "bfloat16"}),
        (dynamic, CPU, {"engine": "fbgemm"}),
        (use_onednn, CPU, {}),
        (simulate, CPU, {"weight_bits": 8, "activation_bits": None}),
        (compile_networks, CPU, {}),
        (use_cuda_graphs, CUDA, {}),
        (pack, CPU, {"bits": 8}),
        (torchao, CPU, {}),
        (smooth, CPU, {}),
        (choose, CPU, {"layers": {"*blocks.*": "w8"}}),
    ],
    ids=lambda value: getattr(value, "__module__", "").rpartition(".")[2] if callable(value) else "",
)
def test_every_technique_that_changes_networks_takes_stages_and_checks_them(technique, device, parameters):
    with pytest.raises(UnknownName, match="unknown stage 'upsample'; nearest: upsampler"):
        technique(pipeline(), device, **parameters, stages=("upsample",))


def test_int8_of_the_upsampler_leaves_the_base_as_it_was_and_has_a_part_of_the_whole_recipes_error():
    engine_or_skip()
    made = pipeline("int8-fbgemm-upsampler")
    assert all(type(layer) is nn.Linear or layer.weight.dtype == torch.float32 for layer in linears(made))
    assert not [layer for layer in linears(made, "upsampler") if type(layer) is nn.Linear]
    cloud, same = objects(made), reference()
    assert torch.equal(cloud[:, :256], same[:, :256])  # the base's own points
    assert 0 < distance(cloud, same) < 0.04


def test_int8_of_the_upsampler_is_unsupported_where_there_is_none():
    engine_or_skip()
    with pytest.raises(UnsupportedRecipe, match="shap-e-nano-text has no diffusion stage 'upsampler'"):
        pipeline("int8-fbgemm-upsampler", "shap-e-nano-text")


def test_onednn_of_one_stage_replaces_that_ones_layers():
    made = use_onednn(pipeline(), CPU, stages=("upsampler",))
    kinds = {stage: {type(part) for part in made.networks[stage].modules()} for stage in made.diffusion}
    assert OneDnnLinear in kinds["upsampler"] and OneDnnLinear not in kinds["base diffusion"]


def test_a_recipe_that_casts_one_stage_is_not_built_in_its_type():
    from dataclasses import replace

    whole = find_optimization("bf16")
    (technique,) = whole.techniques
    part = replace(technique, parameters=technique.parameters | {"stages": ("upsampler",)})
    assert cast_to(whole) == torch.bfloat16
    assert cast_to(replace(whole, techniques=(part,))) is None
    made = cast(pipeline(), CPU, **part.parameters)
    assert {p.dtype for p in made.networks["base diffusion"].parameters()} == {torch.float32}
    assert {p.dtype for p in made.networks["upsampler"].parameters()} == {torch.bfloat16}


# Compositions.


@pytest.mark.parametrize(
    "name",
    [
        "bf16+compile",
        "smoothquant+int8-fbgemm-linear",
        "w8+compile+steps-4",
        "steps-8+mixed",
        "bf16+compile+cuda-graphs",
    ],
)
def test_what_goes_together_composes_in_the_order_written(name):
    expected = [technique.name for part in name.split("+") for technique in OPTIMIZATIONS[part].techniques]
    assert [technique.name for technique in find_optimization(name).techniques] == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compile+bf16", "compile comes behind bf16; write bf16+compile"),
        ("compile+steps-4+bf16", "compile comes behind bf16; write bf16+compile+steps-4"),
        ("int8-fbgemm-linear+smoothquant", "write smoothquant+int8-fbgemm-linear"),
        ("cuda-graphs+compile", "write compile+cuda-graphs"),
        ("w8+w4", "w8 and w4 both set the arithmetic"),
        ("w8+bf16", "w8 and bf16 both set the arithmetic"),
        ("mixed+fp16", "mixed and fp16 both set the arithmetic"),
        ("bf16+complie", "unknown optimization 'complie'; nearest: compile"),
        ("smoothqaunt+w8", "unknown optimization 'smoothqaunt'; nearest: smoothquant"),
    ],
)
def test_impossible_compositions_say_why_and_what_is_right(name, words):
    with pytest.raises(UnknownName, match=re.escape(words)):
        find_optimization(name)


def test_every_technique_has_a_mark():
    names = {technique.name for recipe in OPTIMIZATIONS.values() for technique in recipe.techniques}
    assert {"compile", "cuda-graphs", "weight-only", "mixed", "smoothquant"} <= names <= set(all_marks())


def test_wrong_order_is_an_impossible_composition():
    with pytest.raises(ImpossibleComposition):
        find_optimization("compile+w8")
