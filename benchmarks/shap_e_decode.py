"""Shap-E's decoders, in turn: a mesh and 20 views of one latent, empty space skipped, with fewer points and samples.

    .venv/bin/python benchmarks/shap_e_decode.py [--prompts 8] [--rounds 3] [--grid 128] [--threads 1]

Latents of tuning captions by `shap-e-nano-text`. A ratio is taken within its round, the median over captions and rounds
is printed with its 95 % interval. Peak signal-to-noise ratios are against the reference decoding of the same latent, in
its 20 views, and of meshes in the judge's four pictures of them; the lowest of all captions is printed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable

import torch
from ratios import in_turn, said
from torch import Tensor

from suite.building import build
from suite.configurations import find
from suite.metrics.seen import seen
from suite.models.mesh import Mesh
from suite.models.sampling.noise import generator
from suite.scenes.gallery import GALLERY
from suite.scenes.renderer import judge_views

MODEL = "shap-e-nano-text"
CPU = torch.device("cpu")
WAYS = {"mesh": ("fp32", "sparse-decode", "coarse-decode"), "20 views": ("fp32", "sparse-views", "coarse-views")}


def pictures(mesh: Mesh) -> Tensor:
    shown = seen([mesh])
    return judge_views(shown.clouds, normals=shown.normals)


def psnr_db(made: Tensor, reference: Tensor) -> float:
    return -10 * (made - reference).square().mean().log10().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid", type=int, help="points along each axis, instead of the model's own")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    pipelines = {way: build(find(f"{MODEL}/{way}@cpu"), "embedded", CPU) for ways in WAYS.values() for way in ways}
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.grid:
        own = pipelines["fp32"].grid
        for made in pipelines.values():
            made.grid = made.grid * options.grid // own
    prompts = json.loads(GALLERY.read_text())["tuning"][: options.prompts]
    latents = [pipelines["fp32"].latents([prompt]) for prompt in prompts]
    for what, ways in WAYS.items():
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        alike: dict[str, list[float]] = {way: [] for way in ways}
        for latent, prompt in zip(latents, prompts):
            calls = {way: decoding(pipelines[way], what, latent, prompt) for way in ways}
            for way, values in in_turn(calls, options.rounds, warm_up=1).items():
                seconds[way] += values
            shown = {way: call() if what != "mesh" else pictures(call()) for way, call in calls.items()}
            for way in ways[1:]:
                alike[way].append(psnr_db(shown[way], shown["fp32"]))
        for way in ways:
            middle = sorted(seconds[way])[len(seconds[way]) // 2]
            line = f"{what}, {way}: {1000 * middle:.0f} ms"
            if way != "fp32":
                ratios = [whole / part for whole, part in zip(seconds["fp32"], seconds[way])]
                lowest = min(alike[way])
                line += f", {said(ratios, 1)} times as fast, "
                line += f"at least {lowest:.1f} dB" if lowest < math.inf else "not a pixel differs"
            print(line, flush=True)


def decoding(made, what: str, latent: Tensor, prompt: str) -> Callable[[], Mesh | Tensor]:
    if what == "mesh":
        return lambda: made.mesh(latent)
    return lambda: made.views(latent, generator("views", MODEL, prompt, 0))


if __name__ == "__main__":
    main()
