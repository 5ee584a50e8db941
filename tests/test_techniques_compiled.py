"""torch.compile and CUDA graphs. The latter's bookkeeping by a stand-in: no GPU captures anything here."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.metrics.cost import object_counts
from suite.metrics.extrapolation import at_least, diffusion_places, only_first_calls
from suite.metrics.latency import time_call
from suite.metrics.scoring import generated
from suite.names import UnknownName
from suite.optimizations.execution import compiled
from suite.optimizations.execution.compiled import compile_networks
from suite.optimizations.execution.cuda_graphs import Graphed, copied, signature, use_cuda_graphs
from suite.optimizations.execution.forwards import replace_forward
from tests.techniques import CPU, MODELS, PROMPTS, STEPS, distance, engine_or_skip, objects, pipeline, reference

CUDA = torch.device("cuda")


@pytest.fixture(scope="module", params=MODELS)
def pair(request):
    """float32 as it is and compiled, the latter after one object: what a worker's memory pass makes."""
    if reason := compiled.why_absent(CPU):
        pytest.skip(reason)
    eager, made = pipeline(model=request.param), pipeline("compile", request.param)
    eager.steps = made.steps = STEPS
    made.generate(PROMPTS[:1])
    return eager, made


# torch.compile.


@pytest.mark.slow
def test_a_compiled_model_makes_the_same_objects(pair):
    eager, made = pair
    objects_made = objects(made, PROMPTS[1:])
    assert objects_made.isfinite().all() and distance(objects_made, objects(eager, PROMPTS[1:])) < 0.001


@pytest.mark.slow
def test_nothing_is_compiled_after_the_first_object_neither_timed_nor_scored(pair):
    _, made = pair
    with torch.compiler.set_stance("fail_on_recompile"):
        time_call(lambda stage: made.generate(PROMPTS[:1], stage=stage), lambda: None)
        generated(made, PROMPTS)
        with only_first_calls(diffusion_places(made), at_least(2)):
            made.generate(PROMPTS[:1])


@pytest.mark.slow
def test_another_shape_is_compiled_and_not_run_otherwise(pair):
    _, made = pair
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError, match="recompile"):
        objects(made, PROMPTS)


@pytest.mark.slow
def test_the_arithmetic_of_a_compiled_model_is_counted_as_the_eager_ones(pair):
    eager, made = pair
    with torch.compiler.set_stance("fail_on_recompile"):
        counts = object_counts(made, PROMPTS[0])
    expected = object_counts(eager, PROMPTS[0])
    for stage in made.diffusion:
        assert counts[stage].flops == expected[stage].flops and counts[stage].total_flops


@pytest.mark.slow
def test_compiling_after_rounding_keeps_the_rounding():
    if reason := compiled.why_absent(CPU):
        pytest.skip(reason)
    eager, made = pipeline("w8", MODELS[1]), pipeline("w8+compile", MODELS[1])
    assert distance(objects(made, PROMPTS[:1]), objects(eager, PROMPTS[:1])) < 0.001


@pytest.mark.parametrize(
    ("recipe", "words"),
    [("int8-fbgemm-linear", "those of int8-torchao-linear it can"), ("onednn", "take compile alone")],
)
def test_layers_that_no_tracer_gets_through_are_unsupported_and_say_what_to_take(recipe, words):
    engine_or_skip()
    with pytest.raises(UnsupportedRecipe, match=words):
        pipeline(f"{recipe}+compile", MODELS[1])


def test_what_the_compiler_gives_up_on_is_unsupported_and_not_run_otherwise():
    function = compiled.compiled(lambda x: x if x.sum() > 0 else -x, backend="aot_eager")
    with pytest.raises(UnsupportedRecipe, match=r"torch.compile cannot compile this: \w+"):
        function(torch.ones(2))


def test_an_unknown_backend_or_mode_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown compile backend 'inducter'; nearest: inductor"):
        compile_networks(pipeline(), CPU, backend="inducter")
    with pytest.raises(UnknownName, match="unknown compile mode 'reduce_overhead'; nearest: reduce-overhead"):
        compile_networks(pipeline(), CPU, mode="reduce_overhead")
    with pytest.raises(ValueError, match="mode: max-autotune is not possible with the backend aot_eager"):
        compile_networks(pipeline(), CPU, backend="aot_eager", mode="max-autotune")


def test_another_backend_compiles_too():
    made = compile_networks(pipeline(model=MODELS[1]), CPU, backend="aot_eager")
    assert distance(objects(made), reference(MODELS[1])) < 0.001


def test_without_a_compiler_it_is_unsupported_and_says_which(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnsupportedRecipe, match="needs a C\\+\\+ compiler on a processor, and no-such-compiler is not"):
        compile_networks(pipeline(), CPU)


def test_without_triton_it_is_unsupported_on_a_gpu(monkeypatch):
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedRecipe, match="needs triton on a GPU"):
        compile_networks(pipeline(), CUDA)


# CUDA graphs.


class StandIn:
    """Captures by remembering the call; a replay makes it again into the same answer, as a graph does."""

    def __init__(self):
        self.captured = 0

    def __call__(self, call):
        self.captured += 1
        answer = copied(call(), own := [])

        def replay() -> None:
            signature(call(), made := [])
            for mine, theirs in zip(own, made, strict=True):
                mine.copy_(theirs)

        return replay, answer


@dataclass
class Shared:
    pairs: list[tuple[Tensor, Tensor]]
    name: str = "context"


def test_graphs_are_unsupported_without_cuda():
    with pytest.raises(UnsupportedRecipe, match="CUDA graphs need a CUDA device, and this is cpu"):
        use_cuda_graphs(pipeline(), CPU)


def test_a_graph_is_captured_once_a_shape_and_replayed_with_each_calls_numbers():
    capture = StandIn()
    graphed = Graphed(lambda x, shared, *, t: x * t[:, None] + shared.pairs[0][1], capture)

    def check(rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
        x, t, y = (torch.randn(rows, 3, dtype=dtype), torch.rand(rows, dtype=dtype), torch.randn(3, dtype=dtype))
        answer = graphed(x, Shared([(torch.zeros(1), y)]), t=t)
        assert torch.equal(answer, x * t[:, None] + y)
        return answer

    first = check(2)
    kept = first.clone()
    check(2)
    assert torch.equal(first, kept)  # an answer is not overwritten by the next
    assert capture.captured == 1
    check(4), check(2, torch.float64), check(4)
    assert capture.captured == 3


def test_the_callers_tensors_are_never_the_graphs_own():
    graphed = Graphed(lambda x: x * 2, StandIn())
    x = torch.ones(2)
    graphed(x)
    graphed(torch.zeros(2))
    assert torch.equal(x, torch.ones(2))


def test_an_answer_of_several_tensors_is_given_back_as_it_was():
    graphed = Graphed(lambda x: ({"sample": x + 1}, [x * 2]), StandIn())
    graphed(torch.zeros(1))
    first, second = graphed(torch.ones(1))
    assert (first["sample"], second[0]) == (torch.tensor([2.0]), torch.tensor([2.0]))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_behind_graphs_makes_the_same_objects_and_captures_once_a_network(model):
    made, captures = pipeline(model=model), {}
    for stage in made.diffusion:
        captures[stage] = StandIn()
        replace_forward(made.networks[stage], lambda forward, stage=stage: Graphed(forward, captures[stage]))
    made.steps = 4
    eager = pipeline(model=model)
    eager.steps = 4
    for prompt in PROMPTS:
        assert distance(generated_once(made, prompt), generated_once(eager, prompt)) < 1e-5
    once = {
        stage: 1 + hasattr(made.networks[stage], "context") for stage in made.diffusion
    }  # and once an object's part
    assert {stage: capture.captured for stage, capture in captures.items()} == once


def generated_once(made, prompt: str) -> Tensor:
    return made.latents([prompt]) if hasattr(made, "latents") else made.generate([prompt])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("model", MODELS)
def test_graphs_on_a_gpu_make_the_eager_objects(model):
    from suite.building import build
    from suite.configurations import find

    eager, made = (build(find(f"{model}/fp32@h100"), "embedded", CUDA) for _ in range(2))
    made = use_cuda_graphs(made, CUDA)
    for prompt in PROMPTS:
        assert distance(objects(made, [prompt]), objects(eager, [prompt])) < 1e-5


def test_a_network_that_another_library_runs_is_neither_compiled_nor_captured():
    made = pipeline()
    made.networks["upsampler"].outside_torch = True
    with pytest.raises(UnsupportedRecipe, match="PointUpsampler is run outside torch"):
        compile_networks(made, CPU, backend="aot_eager", stages=("upsampler",))
    with pytest.raises(UnsupportedRecipe, match="PointUpsampler is run outside torch"):
        replace_forward(made.networks["upsampler"], lambda forward: Graphed(forward, StandIn()))


def test_a_network_has_its_eager_forward_where_its_operations_are_looked_at():
    from torch.utils.flop_counter import FlopCounterMode

    network = nn.Linear(4, 4)
    replace_forward(network, lambda forward: lambda x: x)
    x = torch.ones(2, 4)
    assert torch.equal(network(x), x)
    with FlopCounterMode(display=False) as counted:
        assert not torch.equal(network(x), x)
    assert counted.get_total_flops() == 2 * 2 * 4 * 4
