"""The cells of `benchmarks.gpu_session`, in a process of its own: names come in by stdin, a JSON line each goes out.

Weights are seeded noise filled on the processor, so that every recipe has the same; errors are relative, to the float32
answer of the processor on the same inputs.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from statistics import median
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from suite.building import apply_recipe, build
from suite.catalogue.devices import find_device
from suite.catalogue.optimizations import find_optimization
from suite.catalogue.recipes import UnsupportedRecipe
from suite.configurations import find
from suite.history import COMMITTED, committed_outcomes, read_folder
from suite.judging.roofline import floor_s
from suite.metrics.counting import Count, counted
from suite.metrics.peaks import machine_peak
from suite.metrics.quality import Judge
from suite.metrics.scoring import measure_quality
from suite.models.checkpoints.networks import random_network
from suite.models.point_e.network import CHANNELS, PUBLISHED, PointDiffusionTransformer, PointTransformerSettings
from suite.models.shap_e.full_size import PUBLISHED as SHAP_E
from suite.models.shap_e.full_size import Size, build_prior
from suite.models.shap_e.pipeline import LatentLayout, predict
from suite.optimizations.arithmetic.precision import cast_to
from suite.records import MachinePeak

DEVICE, DRY = "cpu", False  # of this process: `main`
WARM_UP, MIN_ROUNDS, MAX_ROUNDS, ROUNDS_S = 3, 3, 30, 3.0
BATCHES = {"upsample": 1}  # from a text it is unguided; all others are an object under guidance
SHAP_E_TEXT = "shap-e-text"
SMALL = PointTransformerSettings(
    points=32, width=64, layers=1, heads=1, conditioning="grid", clip_width=16, clip_tokens=4
)
SMALL_PRIOR = Size(heads=1, layers=1, latent=LatentLayout(16, 64, 16, 64), clip_vector=16)
QUALITY_PROMPTS, DRY_PROMPTS = 153, 2
CATALOGUE = {"cuda": "h100", "cpu": "cpu"}  # a device of this kind, for what a recipe may run on


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def machine() -> dict:
    """What it is, and its peaks."""
    found = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    if DEVICE == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"chip": properties.name, "memory_bytes": properties.total_memory}
        found |= {"capability": f"{properties.major}.{properties.minor}"}
    return found | {"peak": peak().model_dump(mode="json")}


@cache
def peak() -> MachinePeak:
    kinds = ["float32", "float16", "bfloat16"] if DEVICE == "cuda" else ["float32"]
    return machine_peak(torch.device(DEVICE), synchronize, kinds)


def settings_of(subject: str) -> PointTransformerSettings:
    return SMALL if DRY else PUBLISHED[subject]


def make_network(subject: str) -> nn.Module:
    if subject == SHAP_E_TEXT:
        return build_prior(False, SMALL_PRIOR if DRY else SHAP_E)
    return PointDiffusionTransformer(settings_of(subject))


def inputs(subject: str) -> dict[str, Tensor]:
    """As guidance makes them: the second row has no condition."""
    generator, batch = torch.Generator().manual_seed(5), BATCHES.get(subject, 2)
    if subject == SHAP_E_TEXT:
        size = SMALL_PRIOR if DRY else SHAP_E
        x = torch.randn(batch, size.latent.tokens, size.latent.width, generator=generator)
        condition = torch.randn(batch, size.clip_vector, generator=generator)
        given = {"x": x, "t": torch.full((batch,), 801), "condition": condition}
    else:
        settings = settings_of(subject)
        x = torch.randn(batch, CHANNELS, settings.points, generator=generator)
        condition = torch.randn(batch, settings.clip_tokens, settings.clip_width, generator=generator)
        given = {"x": x, "t": torch.full((batch,), 801), "clip": condition}
        if settings.low_resolution_points:
            xyz, rgb = torch.rand(2, batch, 3, settings.low_resolution_points, generator=generator)
            given["low_resolution"] = torch.cat([xyz - 0.5, 255 * rgb], 1)
    condition[1:] = 0
    return given


def asked(subject: str, network: nn.Module, given: dict[str, Tensor]) -> Callable[[], Tensor]:
    if subject == SHAP_E_TEXT:
        return lambda: predict(network, **given)
    return lambda: network(**given)


def on_processor(subject: str) -> nn.Module:
    return random_network(lambda: make_network(subject), torch.device("cpu")).eval().requires_grad_(False)


@cache
def truth(subject: str) -> Tensor:
    """The processor's answer in float32."""
    with torch.inference_mode():
        return asked(subject, on_processor(subject), inputs(subject))().float()


@cache
def cost(subject: str) -> Count:
    with torch.device("meta"):
        network = make_network(subject).eval()
        given = {name: torch.empty_like(value, device="meta") for name, value in inputs(subject).items()}
        return counted(asked(subject, network, given))


def prepared(subject: str, recipe: str) -> Callable[[], Tensor]:
    """One evaluation under a recipe, as a call. UnsupportedRecipe where it cannot run."""
    device = torch.device(DEVICE)
    network = on_processor(subject).to(device)
    alone = SimpleNamespace(model=subject, networks={subject: network}, diffusion=(subject,), guidance=3.0)
    chosen = find_optimization(recipe)
    if (why := chosen.why_unsupported(find_device(CATALOGUE[DEVICE]))) is not None:
        raise UnsupportedRecipe(why)
    made = apply_recipe(chosen, alone, device).networks[subject]
    return asked(subject, made, {name: value.to(device) for name, value in inputs(subject).items()})


def timed(call: Callable[[], object]) -> list[float]:
    """Seconds of some rounds, after others that warm up."""
    for _ in range(WARM_UP):
        call()
    samples: list[float] = []
    while len(samples) < MIN_ROUNDS or (len(samples) < MAX_ROUNDS and sum(samples) < ROUNDS_S):
        synchronize()
        started = time.perf_counter()
        call()
        synchronize()
        samples.append(time.perf_counter() - started)
    return samples


@torch.inference_mode()
def evaluation(subject: str, recipe: str) -> dict:
    """Parity, latency and peak memory of one evaluation, and how far it is from this machine's floor."""
    call = prepared(subject, recipe)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    answer = call().float().cpu()
    samples = timed(call)
    dtype = str(cast_to(find_optimization(recipe)) or torch.float32).removeprefix("torch.")
    work, share = cost(subject), 1.0 if dtype == "float32" else 0.5
    known = dtype in peak().flops_per_s and "int8" not in recipe  # which layers are quantized is the library's choice
    floor = floor_s({dtype: work.total_flops}, round(work.bytes_moved * share), peak()) if known else None
    return {
        "relative_error": ((answer - truth(subject)).norm() / truth(subject).norm()).item(),
        "latency_s": median(samples),
        "slowest_s": max(samples),
        "rounds": len(samples),
        "floor_s": floor,
        "over_floor": None if floor is None else median(samples) / floor,
        "flops": work.total_flops,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None,
    }


@torch.inference_mode()
def gaps(subject: str, recipe: str) -> dict:
    """Kernels of one evaluation, and the share of its time in which none ran. On a processor: operations alone."""
    from torch.profiler import ProfilerActivity, profile

    call = prepared(subject, recipe)
    latency_s = median(timed(call))
    activities = [ProfilerActivity.CUDA if DEVICE == "cuda" else ProfilerActivity.CPU]
    with profile(activities=activities) as seen:
        call()
        synchronize()
    events = [event for event in seen.events() if event.device_type.name == DEVICE.upper()]
    busy_s = sum(event.time_range.elapsed_us() for event in events) / 1e6 if DEVICE == "cuda" else None
    idle = None if busy_s is None else max(0.0, 1 - busy_s / latency_s)
    return {"latency_s": latency_s, "launches": len(events), "busy_s": busy_s, "idle_share": idle}


def quality(subject: str, recipe: str) -> dict:
    """Of an embedded model: how many of its objects are recognized, and where that differs from the committed rows."""
    name = f"{subject}/{recipe}"
    pipeline = build(find(f"{name}@{CATALOGUE[DEVICE]}"), "embedded", torch.device(DEVICE))
    count = DRY_PROMPTS if DRY else QUALITY_PROMPTS
    started = time.perf_counter()
    made, _ = measure_quality(pipeline, Judge(), count, batch_size=8, diversity=False)
    took_s = time.perf_counter() - started
    committed = committed_outcomes(read_folder(COMMITTED, set_aside=False).measurements).get((name, "embedded"))
    known = {o.prompt: o.rank_153 == 0 for o in committed.quality.outcomes} if committed else {}
    pairs = [(o.rank_153 == 0, known[o.prompt]) for o in made.outcomes if o.prompt in known]
    return {
        "prompts": count,
        "hits": sum(o.rank_153 == 0 for o in made.outcomes),
        "compared": len(pairs),
        "other_than_committed": sum(here != there for here, there in pairs),
        "objects_s": took_s,
    }


CELLS = {"machine": lambda *_: machine(), "evaluation": evaluation, "gaps": gaps, "quality": quality}


def outcome_of(kind: str, subject: str, recipe: str) -> dict:
    try:
        return {"status": "ok", **CELLS[kind](subject, recipe)}
    except UnsupportedRecipe as error:
        return {"status": "unsupported", "reason": str(error)}
    except Exception as error:  # noqa: BLE001 - the next cells may do
        traceback.print_exc(file=sys.stderr)
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:500]}
    finally:
        gc.collect()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def end_with(parent: int) -> None:
    """A session that was killed leaves nobody computing, also where it was while this process imported torch."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(parent: str, device: str, *rest: str) -> None:
    global DEVICE, DRY
    DEVICE, DRY = device, "--dry" in rest
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for line in sys.stdin:
        print(json.dumps(outcome_of(*json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
