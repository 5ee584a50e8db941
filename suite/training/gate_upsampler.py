"""May the embedded upsampler ship? Its new points must lie on the surface, and not cost recognition.

    python -m suite.training.gate_upsampler --prompts 153

On held-out captions: from points of the true surface, the new points' distance to it against that of further true
points (the floor: nearest of 2,048 points of the same surface); from the base's points, R-Precision before and after,
paired. Distances are in the scene's units, the box being 2 wide.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from suite.catalogue.models import find_model
from suite.devices.cpu import threads
from suite.judging.paired_quality import difference
from suite.metrics.quality import Judge
from suite.metrics.sharing import CHUNK
from suite.models.conditioning.clip import embed_captions, load_clip_nano
from suite.models.point_e.pipeline import PointE, clip_vector, load_nano_upsampler, to_channels, to_cloud
from suite.names import resolve
from suite.scenes.captions import all_scenes
from suite.scenes.shapes import SceneTable
from suite.training.fields import field

SURFACE_POINTS = 2048
ALLOWED = 2.0  # times the floor


def nearest(points: Tensor, surface: Tensor) -> Tensor:
    """Mean distance of points [B, N, 3] to the nearest of a surface's points [B, M, 3]: [B]."""
    return torch.cdist(points, surface).amin(-1).mean(-1)


@torch.inference_mode()
def off_surface(pipeline: PointE, prompts: list[str]) -> dict[str, float]:
    """How far new points lie from the surface that their low-resolution points are of, and how far true ones do."""
    scenes = {scene.caption: scene for scene in all_scenes()}
    low = pipeline.networks["upsampler"].settings.low_resolution_points
    clip, generator = load_clip_nano(), torch.Generator().manual_seed(11)
    sums = {"new": 0.0, "floor": 0.0, "exact_new": 0.0, "colour_new": 0.0}
    for start in range(0, len(prompts), CHUNK):
        captions = prompts[start : start + CHUNK]
        table = SceneTable([scenes[caption] for caption in captions])
        cloud, _, pose = table.posed_clouds(torch.arange(len(captions)), 2 * low + SURFACE_POINTS, generator)
        given, further, surface = cloud.split([low, low, SURFACE_POINTS], dim=1)
        points = to_channels(given, pipeline.position_scale)
        made = pipeline.upsample(points, embed_captions(clip, captions), captions)[..., low:]
        made = to_cloud(made, pipeline.position_scale)
        exact, rgb = field(pose, made[..., :3])
        sums["new"] += nearest(made[..., :3], surface[..., :3]).sum().item()
        sums["floor"] += nearest(further[..., :3], surface[..., :3]).sum().item()
        sums["exact_new"] += exact.abs().mean(-1).sum().item()
        sums["colour_new"] += (made[..., 3:] - rgb).abs().mean((1, 2)).sum().item()
    return {name: total / len(prompts) for name, total in sums.items()}


@torch.inference_mode()
def recognition(pipeline: PointE, judge: Judge, prompts: list[str]) -> dict[str, list[bool]]:
    """Hits among 153 and 3,001 captions of the base's points and of all points, prompt by prompt."""
    hits: dict[str, list[bool]] = {f"{kind}_{size}": [] for kind in ("before", "after") for size in (153, 3001)}
    for start in range(0, len(prompts), CHUNK):
        captions = prompts[start : start + CHUNK]
        condition = pipeline.condition(captions, 0, lambda name: torch.no_grad())
        base = pipeline.base_points(condition, captions)
        points = pipeline.upsample(base, clip_vector(condition), captions)
        for kind, channels in (("before", base), ("after", points)):
            for outcome in judge.score(to_cloud(channels, pipeline.position_scale), captions):
                hits[f"{kind}_153"].append(outcome.rank_153 == 0)
                hits[f"{kind}_3001"].append(outcome.rank_3001 == 0)
    return hits


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.training.gate_upsampler", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="point-e-nano-text", help="whose base it is: point-e-nano-text or -image")
    parser.add_argument("--prompts", type=int, default=153)
    parser.add_argument("--steps", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(threads())
    judge = Judge()
    prompts = judge.prompts[: options.prompts]
    pipeline = resolve(find_model(options.model).builder)("embedded", torch.device("cpu"))
    pipeline.networks.setdefault("upsampler", load_nano_upsampler(pipeline.device)[0])  # also where it does not ship
    pipeline.steps = options.steps
    found = off_surface(pipeline, prompts)
    print(
        f"off the surface: new points {found['new']:.4f}, true points {found['floor']:.4f}, "
        f"{found['new'] / found['floor']:.2f} times (at most {ALLOWED:g}); "
        f"from the exact surface {found['exact_new']:.4f}; colour off by {found['colour_new']:.4f}",
        flush=True,
    )
    hits = recognition(pipeline, judge, prompts)
    for size in (153, 3001):
        before, after = hits[f"before_{size}"], hits[f"after_{size}"]
        change = difference(list(zip(after, before)))
        print(
            f"first of {size}: {sum(before) / len(before):.3f} before, {sum(after) / len(after):.3f} after, "
            f"difference {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
