"""One evaluation of the embedded Point-E's networks, eager against ONNX Runtime's recipes, interleaved.

    .venv/bin/python benchmarks/onnx_evaluations.py [--rounds 30] [--threads 2] [--model point-e-nano-text] [--spinning]

Each round times every recipe once, in an order that turns; a ratio is taken within its round, and is printed as the
median with the middle half of the rounds. Errors are relative to eager on the same inputs: noise, not a sampling's.
`--spinning` compares whole objects of eight steps instead, by how ONNX Runtime's threads wait.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

import torch

from suite.building import build
from suite.configurations import find
from suite.models.pipeline import Pipeline
from suite.optimizations.onnx import session as onnx_session
from suite.optimizations.onnx.export import Part, parts_of

CPU = torch.device("cpu")
RECIPES = ("onnx", "int8-onnx-dynamic", "int8-onnx-linear", "int8-onnx-all")
PROMPT = "a small red cube on a large blue ball"
WAITING = {  # between the operations of a run, and between runs
    "in a loop, then not at all": {"session.force_spinning_stop": "1"},
    "in a loop, always": {},
    "asleep": {"session.intra_op.allow_spinning": "0"},
}


def pipeline(model: str, recipe: str) -> Pipeline:
    return build(find(f"{model}/{recipe}@cpu"), "embedded", CPU)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@torch.inference_mode()
def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds by name; the first call of each warms up."""
    for call in calls.values():
        call()
    names, taken = list(calls), {name: [] for name in calls}
    for k in range(rounds):
        turn = k % len(names)
        for name in names[turn:] + names[:turn]:
            taken[name].append(seconds(calls[name]))
    return taken


def show(taken: dict[str, list[float]], errors: dict[str, float]) -> None:
    first, *others = taken
    print(f"    {first}: {median(taken[first]) * 1e3:.2f} ms")
    for name in others:
        ratios = [a / b for a, b in zip(taken[first], taken[name])]
        low, _, high = quantiles(ratios, n=4)
        error = f", relative error {errors[name]:.1e}" if name in errors else ""
        print(
            f"    {name}: {median(taken[name]) * 1e3:.2f} ms, {median(ratios):.2f}x ({low:.2f} to {high:.2f}){error}",
            flush=True,
        )


def evaluations(model: str, rounds: int) -> None:
    eager = pipeline(model, "fp32")
    made = {recipe: pipeline(model, recipe) for recipe in RECIPES}
    for stage in eager.diffusion:
        for part in parts_of(eager.networks[stage]):
            for rows in (1, 2):
                inputs = {name: tensor[:rows].contiguous() for name, tensor in part.inputs.items()}
                print(f"{model}, {stage}, {part.name}, batch {rows}")
                runs = {recipe: made[recipe].networks[stage].runs[part.name] for recipe in RECIPES}
                calls = {"eager": lambda: answer(part, inputs)}
                calls |= {recipe: lambda run=run: run(**inputs) for recipe, run in runs.items()}
                errors = {recipe: error(part, inputs, run(**inputs)) for recipe, run in runs.items()}
                show(interleaved(calls, rounds), errors)


@torch.inference_mode()
def answer(part: Part, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    given = part.module(*inputs.values())
    return given if isinstance(given, tuple) else (given,)


def error(part: Part, inputs: dict[str, torch.Tensor], made: dict[str, torch.Tensor]) -> float:
    """The largest of the outputs'."""
    pairs = zip(made.values(), answer(part, inputs))
    return max(((ours - theirs).norm() / theirs.norm()).item() for ours, theirs in pairs)


def spinning(model: str, rounds: int) -> None:
    made = {"eager": pipeline(model, "fp32")}
    kept = onnx_session.SPINNING
    for name, entries in WAITING.items():
        onnx_session.SPINNING = entries
        made[f"onnx, threads wait {name}"] = pipeline(model, "onnx")
    onnx_session.SPINNING = kept
    for each in made.values():
        each.steps = 8
    print(f"{model}, an object of eight steps")
    show(interleaved({name: lambda p=p: p.generate([PROMPT]) for name, p in made.items()}, rounds), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="point-e-nano-text")
    parser.add_argument("--spinning", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)  # ONNX Runtime's sessions take as many
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.rounds} rounds")
    (spinning if options.spinning else evaluations)(options.model, options.rounds)


if __name__ == "__main__":
    main()
