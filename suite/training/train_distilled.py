"""The recipes of the distilled networks: a guided teacher's whole way in 8, 4, 2 or 1 steps, one network for each.

The teacher goes from noise to sample in twice as many steps as the finest student has, and what it passes is kept. A
student's step leads from where the teacher stood to where it arrived: for one step of all this is Luhman & Luhman 2021,
arXiv:2101.02388; for several it saves the stages of Salimans & Ho 2022, arXiv:2202.00512. Guidance is within what is
learned (Meng et al. 2022, arXiv:2210.03142).

A step is a rotation: with the angle phi of a noise level, tan(phi) = sigma, x at phi - delta is
cos(delta) x - sin(delta) v (arXiv:2202.00512, appendix D); so the v that leads from one place to another is known.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.checkpoints.stored_int8 import packed
from suite.models.point_e.pipeline import NANO_GUIDANCE
from suite.models.sampling.denoiser import Denoiser
from suite.models.sampling.solvers import levels, solve
from suite.training.recipe import GeneratorRecipe, VelocityRecipe
from suite.training.train_point_e import point_e_nano_image, point_e_nano_text

FINEST = 8  # places at which the teacher's way is kept, besides its end
TEACHER_SOLVER, TEACHER_STEPS = "dpmpp-2m", 16
BLOCK_STEPS, BLOCK_WAYS = 50, 192  # so many steps draw from so many of the teacher's ways; then from new ones
BATCH = 32


def point_e_nano_text_distilled() -> DistilledRecipe:
    return DistilledRecipe(point_e_nano_text(), (8, 4, 2, 1), 600, NANO_GUIDANCE, sigma_max=120)


def point_e_nano_image_distilled() -> DistilledRecipe:
    return DistilledRecipe(point_e_nano_image(), (8, 4, 2, 1), 600, NANO_GUIDANCE, sigma_max=120)


class Ways(NamedTuple):
    """Where the teacher stood, from noise to sample [FINEST + 1, W, ...], variance 1; and what it was told [W, ...]."""

    places: Tensor
    condition: Tensor


class DistilledRecipe(GeneratorRecipe):
    """Students of a trained network, one for each number of evaluations."""

    PEAK_RATE, DECAY_FROM, WARM_UP, EMA = 4e-4, 0.3, 50, 0.99

    def __init__(self, teacher: VelocityRecipe, counts: tuple[int, ...], steps: int, guidance: float, sigma_max: float):
        super().__init__(f"{teacher.name}-distilled", teacher.seed + 100, steps)
        self.source, self.guidance, self.counts = teacher, guidance, counts
        self.teacher = teacher.network
        self.teacher.load_state_dict(load_embedded(teacher.name)[0])
        self.train(nn.ModuleDict({str(count): copy.deepcopy(self.teacher) for count in counts}))
        self.teacher.eval().requires_grad_(False)
        self.sigmas = levels("trailing", teacher.schedule, FINEST, 0.0, sigma_max)
        self.angles = torch.atan(self.sigmas).float()
        self.block: tuple[int, Ways] | None = None

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        ways = self.ways(step // BLOCK_STEPS)
        return torch.stack([self.loss_of(count, ways, generator) for count in self.counts]).mean()

    def loss_of(self, count: int, ways: Ways, generator: torch.Generator) -> Tensor:
        way = torch.randint(ways.places.shape[1], (BATCH,), generator=generator)
        start = torch.randint(count, (BATCH,), generator=generator) * (FINEST // count)
        end = start + FINEST // count
        x, arrived = ways.places[start, way], ways.places[end, way]
        turned = (self.angles[start] - self.angles[end]).view(-1, *[1] * (x.ndim - 1))
        target = (turned.cos() * x - arrived) / turned.sin()
        t = torch.tensor([self.source.schedule.timestep(sigma) for sigma in self.sigmas[start].tolist()])
        with torch.autocast("cpu", torch.bfloat16):
            predicted = self.source.velocity(self.network[str(count)], x, t, ways.condition[way])
        return self.source.error(predicted.float() - target)

    def ways(self, block: int) -> Ways:
        """Those that a block's steps draw from: the same whenever it is begun again."""
        if self.block is None or self.block[0] != block:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + 500_000 + block)
            parts = [self.walk(generator) for _ in range(BLOCK_WAYS // BATCH)]
            self.block = block, Ways(torch.cat([p.places for p in parts], 1), torch.cat([p.condition for p in parts]))
        return self.block[1]

    @torch.no_grad()
    def walk(self, generator: torch.Generator) -> Ways:
        """The teacher's ways for a batch of conditions, as its recipe draws them in the end."""
        x0, condition = self.source.example(self.source.steps - 1, generator)
        noise = torch.randn(x0.shape, generator=generator)
        denoise = Denoiser(
            lambda x, t, condition: self.source.velocity(self.teacher, x, t, condition).float(),
            self.source.schedule,
            "v",
            {"condition": condition},
            guidance=self.guidance,
            clamp=False,
        )
        places = []

        def watched(x: Tensor, sigma: float) -> Tensor:
            places.append(x / math.sqrt(1 + sigma**2))
            return denoise(x, sigma)

        sigmas = levels("trailing", self.source.schedule, TEACHER_STEPS, 0.0, float(self.sigmas[0]))
        with torch.autocast("cpu", torch.bfloat16):
            end = solve(TEACHER_SOLVER, watched, noise, sigmas)
        return Ways(torch.stack([*places[:: TEACHER_STEPS // FINEST], end]), condition)

    def finished(self) -> dict[str, Tensor]:
        # All networks of the project stay under 64 MB, and 8 students in 8 bits are 8 MB of them. What rounding does is
        # part of what is measured.
        return packed(super().finished())
