"""The recipes of the distilled networks: 64 guided steps in 8, 4, 2 or 1 evaluations, guidance within them.

A step is a rotation: with the angle phi of a noise level, tan(phi) = sigma, x at phi - delta is
cos(delta) x - sin(delta) v (Salimans & Ho 2022, arXiv:2202.00512, appendix D). So the v that leads in one step to where
a better solver arrives is known, and is what the student learns:

- the shortest steps, an eighth of the time each, from the guided teacher in two of Heun's steps;
- each longer one from two of the student's own next shorter ones (arXiv:2410.12557, section 3), which costs no teacher.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from suite.embedded.recipe import GeneratorRecipe, VelocityRecipe
from suite.embedded.train_point_e import point_e_nano_image, point_e_nano_text
from suite.embedded.train_shap_e import shap_e_nano_text
from suite.models.long_steps import COUNTS, set_evaluations, with_step_length
from suite.models.point_e import NANO_GUIDANCE as POINT_E_GUIDANCE
from suite.models.shap_e import NANO_GUIDANCE as SHAP_E_GUIDANCE
from suite.models.weights import load_embedded

TEACHER_STEPS = 2  # of Heun's method, for one of the student's shortest
SHORTEST = COUNTS[-1]


def point_e_nano_text_distilled() -> DistilledRecipe:
    return DistilledRecipe(point_e_nano_text(), 1_500, POINT_E_GUIDANCE, sigma_max=120)


def point_e_nano_image_distilled() -> DistilledRecipe:
    return DistilledRecipe(point_e_nano_image(), 1_500, POINT_E_GUIDANCE, sigma_max=120)


def shap_e_nano_text_distilled() -> DistilledRecipe:
    return DistilledRecipe(shap_e_nano_text(), 1_500, SHAP_E_GUIDANCE, sigma_max=160)


class DistilledRecipe(GeneratorRecipe):
    """A student of a trained network, from examples as that network saw them."""

    PEAK_RATE, DECAY_FROM, EMA = 6e-4, 0.4, 0.996

    def __init__(self, teacher: VelocityRecipe, steps: int, guidance: float, sigma_max: float):
        super().__init__(f"{teacher.name}-distilled", teacher.seed + 100, steps)
        self.source, self.guidance = teacher, guidance
        self.teacher = teacher.network
        self.teacher.load_state_dict(load_embedded(teacher.name)[0])
        student = with_step_length(copy.deepcopy(self.teacher))
        self.teacher.eval().requires_grad_(False)
        self.train(student, [p for p in student.parameters() if p.requires_grad])
        self.last = teacher.schedule.timestep(sigma_max)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        # The teacher's own recipe says where its coarse examples end; so they do for the student.
        x0, condition = self.source.example(step * self.source.steps // self.steps, generator)
        count = torch.tensor(COUNTS).repeat(-(-len(x0) // len(COUNTS)))[: len(x0)]
        place = (torch.rand(len(x0), generator=generator) * count).floor()  # steps that lie behind
        start, end = 1 - place / count, 1 - (place + 1) / count
        angle = self.angle(start, x0)
        noisy = angle.cos() * x0 + angle.sin() * torch.randn(x0.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            target = self.target(noisy, start, end, count, condition)
            predicted = self.student(noisy, start, count, condition)
        return self.source.error(predicted - target)

    def student(self, x: Tensor, share: Tensor, count: Tensor, condition: Tensor) -> Tensor:
        """v of samples at a share of the time, in steps of which so many make up a sampling. All [B, ...]."""
        set_evaluations(self.network, count)
        return self.source.velocity(self.network, x, share * self.last, condition).float()

    def guided(self, x: Tensor, share: Tensor, condition: Tensor) -> Tensor:
        """v of the teacher, guided."""
        both, twice = torch.cat([condition, torch.zeros_like(condition)]), torch.cat([x, x])
        given, without = self.source.velocity(self.teacher, twice, (share * self.last).repeat(2), both).float().chunk(2)
        return torch.lerp(without, given, self.guidance)

    def angle(self, share: Tensor, like: Tensor) -> Tensor:
        """The angle of the noise at a share of the time [B], as broadcast over samples; at 0 there is none."""
        alpha, sigma = self.source.schedule.alpha_sigma(share * self.last)
        return torch.where(share > 0, torch.atan2(sigma, alpha), 0.0).view(-1, *[1] * (like.ndim - 1))

    @torch.no_grad()
    def target(self, x: Tensor, start: Tensor, end: Tensor, count: Tensor, condition: Tensor) -> Tensor:
        """The v by which one step leads to where two shorter ones, or the teacher's, arrive."""
        arrived, shortest = torch.empty_like(x), count == SHORTEST
        for rows, solver in ((shortest, self.by_teacher), (~shortest, self.by_shorter_steps)):
            arrived[rows] = solver(x[rows], start[rows], end[rows], count[rows], condition[rows])
        turned = self.angle(start, x) - self.angle(end, x)
        return (turned.cos() * x - arrived) / turned.sin()

    def by_shorter_steps(self, x: Tensor, start: Tensor, end: Tensor, count: Tensor, condition: Tensor) -> Tensor:
        middle = (start + end) / 2
        for at, following in ((start, middle), (middle, end)):
            v = self.student(x, at, 2 * count, condition)
            x = turn(x, v, self.angle(at, x) - self.angle(following, x))
        return x

    def by_teacher(self, x: Tensor, start: Tensor, end: Tensor, count: Tensor, condition: Tensor) -> Tensor:
        for step in range(TEACHER_STEPS):
            at, following = (torch.lerp(start, end, (step + k) / TEACHER_STEPS) for k in (0, 1))
            turned = self.angle(at, x) - self.angle(following, x)
            v = self.guided(x, at, condition)
            ahead = turn(x, v, turned)
            # The slope at the far end, turned back to where it can be averaged with this one's.
            back = turned.cos() * self.guided(ahead, following, condition) - turned.sin() * ahead
            x = turn(x, (v + back) / 2, turned)
        return x

    def finished(self) -> dict[str, Tensor]:
        # Half the bytes: what rounding does is part of what is measured.
        return {name: value.half() for name, value in super().finished().items()}


def turn(x: Tensor, v: Tensor, angle: Tensor) -> Tensor:
    """A sample with less noise, by an angle."""
    return angle.cos() * x - angle.sin() * v
