"""The recipe of the embedded CLIPs: contrastive training on renders of the caption grammar.

Half of a batch are groups of captions that differ in one word (hard negatives); a scene is seen as splats of
256 to 1,024 points, with some noise, or as a solid. A judge has another seed and leaves out another part of
the training captions, so that it does not share the mistakes of the network that conditions the generator. The second
judge has another architecture besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.conditioning.clip import build_clip_nano
from suite.models.conditioning.clip_convolutional import ConvolutionalClip
from suite.scenes.captions import COLOURS, COUNTS, RELATIONS, SHAPES, SIZES, Scene, Thing, all_scenes, hash_fraction
from suite.scenes.renderer import render
from suite.scenes.shapes import SceneTable
from suite.scenes.tokenizer import tokenize
from suite.training.evaluate import ground_truth_precision

BATCH = 128
GROUPS, GROUP = 16, 4  # half of the batch
PEAK_RATE, WARM_UP = 1e-3, 200


def clip_nano() -> ClipRecipe:
    return ClipRecipe("clip-nano", seed=1, left_out=0)


def clip_nano_judge() -> ClipRecipe:
    return ClipRecipe("clip-nano-judge", seed=2, left_out=1)


def clip_nano_second_judge() -> ClipRecipe:
    return ClipRecipe("clip-nano-second-judge", seed=3, left_out=2, build=ConvolutionalClip)


def variations(scene: Scene) -> list[Scene]:
    """Scenes that differ from this one in one attribute, or by the two things changing places."""

    def changed(thing: Thing) -> list[Thing]:
        return [
            thing._replace(**{attribute: value})
            for attribute, words in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES))
            for value in range(len(words))
            if value != getattr(thing, attribute)
        ]

    if scene.other is None:
        return [scene._replace(thing=t) for t in changed(scene.thing)] + [
            scene._replace(count=c) for c in range(len(COUNTS)) if c != scene.count
        ]
    return (
        [scene._replace(thing=t) for t in changed(scene.thing)]
        + [scene._replace(other=t) for t in changed(scene.other)]
        + [scene._replace(relation=r) for r in range(len(RELATIONS)) if r != scene.relation] * 3
        + [scene._replace(thing=scene.other, other=scene.thing)] * 3
    )


@dataclass
class ClipRecipe:
    name: str
    seed: int
    left_out: int  # which quarter of the training captions this network never sees
    steps: int = 2_400
    build: Callable[[], nn.Module] = build_clip_nano
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = self.build()
        decayed = [p for p in self.network.parameters() if p.ndim >= 2]
        others = [p for p in self.network.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=PEAK_RATE,
            betas=(0.9, 0.98),
        )
        self.scenes = [
            s
            for s in all_scenes()
            if s.split == "training" and int(hash_fraction("fold " + s.caption) * 4) != self.left_out
        ]
        self.rows = {scene: row for row, scene in enumerate(self.scenes)}
        self.table = SceneTable(self.scenes)
        self.tokens = tokenize([s.caption for s in self.scenes])
        # The few scenes of one to three equal things would else be one in two hundred.
        self.lone = torch.tensor([s.other is None for s in self.scenes]).nonzero().flatten()

    def learning_rate(self, step: int) -> float:
        if step < WARM_UP:
            return PEAK_RATE * (step + 1) / WARM_UP
        return PEAK_RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (self.steps - WARM_UP))))

    def draw(self, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self.scenes), (BATCH,), generator=generator).tolist()
        lone = self.lone[torch.randint(len(self.lone), (BATCH // 16,), generator=generator)].tolist()
        rows[-len(lone) :] = lone
        for group in range(GROUPS):
            first = group * GROUP
            near = [self.rows[s] for s in variations(self.scenes[rows[first]]) if s in self.rows]
            if not near:
                continue
            for k, pick in enumerate(torch.randint(len(near), (GROUP - 1,), generator=generator).tolist()):
                rows[first + 1 + k] = near[pick]
        return torch.tensor(rows)

    def pictures(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One random view of each scene, [B, 3, 64, 64]."""
        kind = int(torch.randint(10, (1,), generator=generator))
        points = 256 if kind < 4 else 512 if kind < 5 else 1024 if kind < 6 else 1536
        solid = kind >= 6
        cloud, normals = self.table.clouds(rows, points, generator)
        if not solid:
            noise = 0.03 * torch.rand(len(rows), 1, 1, generator=generator)
            cloud = cloud + noise * torch.randn(cloud.shape, generator=generator)
        azimuth = 360 * torch.rand(len(rows), 1, generator=generator)
        elevation = 20 + 20 * torch.rand(len(rows), 1, generator=generator)
        radius = 1.5 if solid else None
        return render(cloud, azimuth, elevation, radius_px=radius, normals=normals if solid else None)[:, 0]

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        rows = self.draw(generator)
        pictures = self.pictures(rows, generator)
        # Where a processor lacks arithmetic in bfloat16 it is emulated, at a tenth of the speed.
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        with torch.autocast("cpu", torch.bfloat16, enabled=native):
            image = F.normalize(self.network.encode_image(pictures * 2 - 1).float(), dim=-1)
            text = F.normalize(self.network.encode_text(self.tokens[rows]).float(), dim=-1)
        logits = self.network.logit_scale.exp() * image @ text.T
        # A caption drawn twice is no negative of itself.
        same = (rows[:, None] == rows[None]) & ~torch.eye(len(rows), dtype=torch.bool)
        logits = logits.masked_fill(same, -1e4)
        target = torch.arange(len(rows))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def after_step(self, step: int) -> None:
        with torch.no_grad():
            self.network.logit_scale.clamp_(max=math.log(100))

    def finished(self) -> dict[str, Tensor]:
        return {k: v.contiguous() for k, v in self.network.state_dict().items() if k != "attn_mask"}

    def evaluate(self) -> dict[str, float]:
        return ground_truth_precision(self.network)
