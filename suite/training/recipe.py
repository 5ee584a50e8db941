"""What the recipes of the generators share: scenes to draw, optimizer, decaying rate, a running mean of the weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.conditioning.clip import load_clip_nano
from suite.models.sampling.denoiser import NoiseSchedule, cosine_schedule
from suite.scenes.captions import Scene, all_scenes
from suite.scenes.shapes import SceneTable
from suite.scenes.tokenizer import tokenize

LONE_SHARE = 16  # one in so many scenes is of one to three equal things, which would else be one in two hundred


class GeneratorRecipe(ABC):
    """A network trained for a number of steps on scenes drawn anew at each. Subclasses say what a step's loss is."""

    PEAK_RATE: ClassVar[float]
    DECAY_FROM: ClassVar[float] = 0.5  # share of the steps at the peak rate; then it falls linearly
    WARM_UP: ClassVar[int] = 200
    EMA: ClassVar[float] = 0.998

    def __init__(self, name: str, seed: int, steps: int):
        self.name, self.seed, self.steps = name, seed, steps
        torch.manual_seed(seed)
        self.scenes, self.table, self.lone = training_scenes()
        self.clip = load_clip_nano()

    def train(self, network: nn.Module, parameters: Iterable[nn.Parameter] | None = None) -> None:
        """Set what is trained: all of a network, or some of its parameters."""
        self.network = network
        self.optimizer = torch.optim.AdamW(
            network.parameters() if parameters is None else parameters,
            lr=self.PEAK_RATE,
            betas=(0.9, 0.99),
            weight_decay=0.01,
        )
        self.extra = {name: value.clone() for name, value in network.state_dict().items()}  # running mean

    def learning_rate(self, step: int) -> float:
        decay = min(1.0, (1 - step / self.steps) / (1 - self.DECAY_FROM))
        return self.PEAK_RATE * min(1.0, (step + 1) / self.WARM_UP) * max(decay, 0.01)

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """Rows of so many scenes."""
        rows = torch.randint(len(self.scenes), (batch,), generator=generator)
        lone = max(1, batch // LONE_SHARE)
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        return rows

    def text_vectors(self, rows: Tensor) -> Tensor:
        """Unit CLIP vectors of the scenes' captions."""
        with torch.no_grad():
            tokens = tokenize([self.scenes[row].caption for row in rows.tolist()])
            return F.normalize(self.clip.encode_text(tokens).float(), dim=-1)

    @abstractmethod
    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of one step, whose examples come from its generator alone."""

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        rate = min(self.EMA, (step + 1) / (step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.extra[name].lerp_(value, 1 - rate)

    def finished(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.extra.items()}

    def evaluate(self) -> dict[str, float]:
        return {}


class Stage(NamedTuple):
    """Where a step lies in a recipe of several stages."""

    number: int
    step: int  # within the stage
    steps: int  # of the stage


class StagedRecipe(GeneratorRecipe):
    """Several stages after each other, each with its own warm-up, decay and running mean."""

    STAGES: ClassVar[tuple[int, ...]]  # steps
    DECAYS_FROM: ClassVar[tuple[float, ...]]  # as DECAY_FROM, by stage

    def stage(self, step: int) -> Stage:
        ends = list(accumulate(self.STAGES))
        number = min(bisect_right(ends, step), len(ends) - 1)
        return Stage(number, step - ends[number] + self.STAGES[number], self.STAGES[number])

    def learning_rate(self, step: int) -> float:
        stage = self.stage(step)
        decay = min(1.0, (1 - stage.step / stage.steps) / (1 - self.DECAYS_FROM[stage.number]))
        return self.PEAK_RATE * min(1.0, (stage.step + 1) / self.WARM_UP) * max(decay, 0.01)

    def after_step(self, step: int) -> None:
        super().after_step(self.stage(step).step)


@lru_cache(maxsize=1)
def training_scenes() -> tuple[list[Scene], SceneTable, Tensor]:
    """All scenes that may be trained on, their layouts, and the rows of those with one to three equal things."""
    scenes = [scene for scene in all_scenes() if scene.split == "training"]
    return scenes, SceneTable(scenes), torch.tensor([s.other is None for s in scenes]).nonzero().flatten()


def spread(batch: int, generator: torch.Generator) -> Tensor:
    """Uniform shares 0–1 [batch], spread evenly over the batch: it halves the noise of a loss over noise levels."""
    return (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch


class VelocityRecipe(GeneratorRecipe):
    """A diffusion network trained to predict v (Salimans & Ho 2022, arXiv:2202.00512). Subclasses draw the examples."""

    UNCONDITIONAL_SHARE: ClassVar[float] = 0.1  # of the examples; what guidance compares with
    schedule = cosine_schedule()

    @abstractmethod
    def example(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clean samples in the network's units and their conditions, both [B, ...]."""

    @abstractmethod
    def velocity(self, network: nn.Module, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """What a network of this architecture predicts, in the shape of the samples."""

    def error(self, difference: Tensor) -> Tensor:
        """The loss of predictions that are off by so much, [B, ...]."""
        return difference.square().mean()

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        x0, condition = self.example(step, generator)
        condition[torch.rand(len(x0), generator=generator) < self.UNCONDITIONAL_SHARE] = 0
        noisy, t, v = v_example(x0, self.schedule, generator)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = self.velocity(self.network, noisy, t, condition)
        return self.error(predicted.float() - v)


def v_example(x0: Tensor, schedule: NoiseSchedule, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy samples, their time steps and their velocities v (Salimans & Ho 2022, arXiv:2202.00512)."""
    t = spread(len(x0), generator) * 1023
    alpha, sigma = (value.view(-1, *[1] * (x0.ndim - 1)) for value in schedule.alpha_sigma(t))
    noise = torch.randn(x0.shape, generator=generator)
    return alpha * x0 + sigma * noise, t, alpha * noise - sigma * x0
