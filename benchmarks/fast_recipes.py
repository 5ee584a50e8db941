"""How much faster, and what it costs: recipes against a model's 64-step fp32, in turn, on prompts in pairs.

    .venv/bin/python benchmarks/fast_recipes.py point-e-nano-text distilled-4 steps-16 [--prompts 1024] [--rounds 15]

Prints for each recipe the latency ratio (median over rounds, 95 % interval by bootstrap) and the change of the share of
prompts that come first among 153 and among 3,001, with its paired interval. A loss of more than MARGIN is excluded
where the interval's lower end is above it. What was scored is kept in `.benchmarks/fast_recipes/`, so that a run can go
on. More than 1,024 prompts are taken from the gallery's distractors, which are of the same draw and held out as well,
but for those on which settings were chosen; each is then ranked among all but itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ratios import in_turn, said

from suite.building import build
from suite.configurations import find
from suite.devices.backend import backend_of
from suite.judging.paired_quality import difference
from suite.metrics.quality import Judge
from suite.metrics.scoring import generated
from suite.metrics.sharing import CHUNK
from suite.models.pipeline import Pipeline
from suite.prompts import TIMING_PROMPTS, load_prompts

MARGIN = 0.03
CHOSEN_ON = 768  # distractors, the first of them (docs/fast-recipes.md)
KEPT = Path(__file__).parents[1] / ".benchmarks" / "fast_recipes"


def scored(name: str, pipeline: Pipeline, judge: Judge, prompts: list[str]) -> dict[str, list[int]]:
    """Ranks among 153 and 3,001 by prompt, one object each, made one at a time."""
    path = KEPT / f"{name.replace('/', '--')}-{(pipeline.weights_sha256 or 'none')[:12]}.json"
    ranks = json.loads(path.read_text()) if path.exists() else {}
    missing = [prompt for prompt in prompts if prompt not in ranks]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        for outcome in judge.score(generated(pipeline, chunk), chunk):
            ranks[outcome.prompt] = [outcome.rank_153, outcome.rank_3001]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ranks))
        print(f"\r{name}: {len(prompts) - len(missing) + start + len(chunk)} of {len(prompts)}", end="", flush=True)
    print()
    return ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    pipelines = {}
    for recipe in ("fp32", *options.recipes):
        configuration = find(f"{options.model}/{recipe}@cpu")
        backend = backend_of(configuration.device)
        pipelines[recipe] = build(configuration, "embedded", backend.torch_device())
    prompt = [TIMING_PROMPTS["embedded"]]
    calls = {recipe: lambda made=made: made.generate(prompt) for recipe, made in pipelines.items()}
    seconds = in_turn(calls, options.rounds)
    for recipe, values in seconds.items():
        ratios = [whole / part for whole, part in zip(seconds["fp32"], values)]
        print(
            f"{recipe}: {1000 * sorted(values)[len(values) // 2]:.1f} ms, {said(ratios, 1)} times as fast", flush=True
        )
    if not options.prompts:
        return
    judge = Judge()
    prompts = [*judge.prompts, *load_prompts("embedded").captions[CHOSEN_ON:]][: options.prompts]
    ranks = {recipe: scored(f"{options.model}/{recipe}", made, judge, prompts) for recipe, made in pipelines.items()}
    for recipe in options.recipes:
        for gallery, size in enumerate((153, 3001)):
            pairs = [(ranks[recipe][p][gallery] == 0, ranks["fp32"][p][gallery] == 0) for p in prompts]
            change = difference(pairs)
            share, reference = (sum(pair[k] for pair in pairs) / len(pairs) for k in (0, 1))
            excluded = "excluded" if change.low > -MARGIN else "not excluded"
            print(
                f"{recipe}: first of {size} {share:.3f} against {reference:.3f}, {change.value:+.3f} "
                f"({change.low:+.3f} to {change.high:+.3f}); a loss over {MARGIN:.0%} is {excluded}, "
                f"{len(pairs)} prompts"
            )


if __name__ == "__main__":
    main()
