"""Train an embedded network by its committed recipe, in resumable slices.

    python -m suite.training.train clip-nano --slice-minutes 45

A recipe is a fixed number of steps, each drawn from a generator seeded by (seed, step), so that a run cut
into slices sees the same data as an uncut one. The checkpoint lies in `.training/<name>.pt` and is replaced
atomically; the finished network is written as safetensors into `suite/embedded/weights/`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from suite.models.checkpoints.embedded import EMBEDDED as WEIGHTS
from suite.models.checkpoints.embedded import HASHES, sha256_of
from suite.names import resolve

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / ".training"
RECIPES = {
    "clip-nano": "suite.training.train_clip:clip_nano",
    "clip-nano-judge": "suite.training.train_clip:clip_nano_judge",
    "clip-nano-second-judge": "suite.training.train_clip:clip_nano_second_judge",
    "point-e-nano-text": "suite.training.train_point_e:point_e_nano_text",
    "point-e-nano-upsampler": "suite.training.train_upsampler:point_e_nano_upsampler",
    "text-to-image-nano": "suite.training.train_text_to_image:text_to_image_nano",
    "point-e-nano-image": "suite.training.train_point_e:point_e_nano_image",
    "shap-e-nano-autoencoder": "suite.training.train_shap_e:shap_e_nano_autoencoder",
    "shap-e-nano-text": "suite.training.train_shap_e:shap_e_nano_text",
    "shap-e-nano-image": "suite.training.train_shap_e:shap_e_nano_image",
    "point-e-nano-text-distilled": "suite.training.train_distilled:point_e_nano_text_distilled",
    "point-e-nano-image-distilled": "suite.training.train_distilled:point_e_nano_image_distilled",
}


class Recipe(Protocol):
    name: str
    seed: int
    steps: int
    network: nn.Module
    optimizer: torch.optim.Optimizer

    def learning_rate(self, step: int) -> float: ...
    def loss(self, step: int, generator: torch.Generator) -> Tensor: ...
    def after_step(self, step: int) -> None: ...
    def finished(self) -> dict[str, Tensor]: ...
    def evaluate(self) -> dict[str, float]: ...


def train(recipe: Recipe, slice_s: float, say=print, every: int = 100) -> bool:
    """Run until the recipe or the slice ends; True when the recipe is finished."""
    CHECKPOINTS.mkdir(exist_ok=True)
    path = CHECKPOINTS / f"{recipe.name}.pt"
    step, spent_s, log = 0, 0.0, []
    if path.exists():
        saved = torch.load(path, weights_only=True)
        recipe.network.load_state_dict(saved["network"])
        recipe.optimizer.load_state_dict(saved["optimizer"])
        if saved["extra"]:
            recipe.extra = saved["extra"]
        step, spent_s, log = saved["step"], saved["spent_s"], saved["log"]
        say(f"{recipe.name}: resumed at step {step} of {recipe.steps}")
    started = saved_at = time.monotonic()
    first, total, count = step, 0.0, 0

    def save() -> None:
        state = dict(
            network=recipe.network.state_dict(),
            optimizer=recipe.optimizer.state_dict(),
            extra=getattr(recipe, "extra", None),
            step=step,
            log=log,
            spent_s=spent_s + time.monotonic() - started,
        )
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    while step < recipe.steps and time.monotonic() - started < slice_s:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        for group in recipe.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(step)
        recipe.optimizer.zero_grad(set_to_none=True)
        # On the CPU, flash attention's bfloat16 backward is several times slower than the plain one.
        with sdpa_kernel(SDPBackend.MATH):
            loss = recipe.loss(step, generator)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(recipe.network.parameters(), 1.0)
        recipe.optimizer.step()
        recipe.after_step(step)
        step += 1
        total, count = total + loss.item(), count + 1
        if step % every == 0:
            rate = (time.monotonic() - started) / (step - first)
            log.append([step, total / count])
            say(
                f"{recipe.name}: step {step}/{recipe.steps}  loss {total / count:.4f}  "
                f"{rate * 1000:.0f} ms/step  {(recipe.steps - step) * rate / 60:.1f} min left"
            )
            total, count = 0.0, 0
        if time.monotonic() - saved_at > 120:
            save()
            saved_at = time.monotonic()
    save()
    if step < recipe.steps:
        say(f"{recipe.name}: slice over at step {step} of {recipe.steps}; run the same command to go on")
        return False
    WEIGHTS.mkdir(exist_ok=True)
    save_file(recipe.finished(), WEIGHTS / f"{recipe.name}.safetensors")
    pin_hash(recipe.name)
    spent_min = (spent_s + time.monotonic() - started) / 60
    result = {"name": recipe.name, "steps": recipe.steps, "minutes": round(spent_min, 1), **recipe.evaluate()}
    say(json.dumps(result))
    return True


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: returning and zeroing pages again took half of a step on the CPU."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_max = -1, -4  # malloc.h
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def pin_hash(name: str) -> None:
    """Write down the hash by which `suite.models.checkpoints.embedded` will know the file."""
    hashes = json.loads(HASHES.read_text()) if HASHES.exists() else {}
    hashes[name] = sha256_of(WEIGHTS / f"{name}.safetensors")
    HASHES.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")


def load_recipe(name: str) -> Recipe:
    return resolve(RECIPES[name])()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.training.train", description=__doc__.split("\n")[0])
    parser.add_argument("network", choices=RECIPES)
    parser.add_argument("--slice-minutes", type=float, default=45.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args(argv)
    keep_freed_memory()
    torch.set_num_threads(options.threads)

    def say(line: str) -> None:
        print(line, flush=True)

    return 0 if train(load_recipe(options.network), options.slice_minutes * 60, say) else 3


if __name__ == "__main__":
    sys.exit(main())
