"""Solvers of the sampling equation by name, and the noise levels they stop at.

All but Heun's ask the network once a level. They are written here, a few lines each, because diffusers' schedulers are
bound to their own tables of levels; the tests hold them against diffusers' on its tables. As in
`suite.models.sampling.denoiser`, x = x0 + sigma * noise, and what is returned is the last predicted x0: the step to 0.
Only Euler's may end before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from suite.models.sampling.denoiser import NoiseSchedule, heun, karras_sigmas
from suite.names import unknown

Denoise = Callable[[Tensor, float], Tensor]
SPACINGS = ("karras", "timesteps", "trailing")


def levels(spacing: str, schedule: NoiseSchedule, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Noise levels from sigma_max to sigma_min, then 0: float64 [steps + 1].

    "karras": equation 5 of Karras et al. 2022, arXiv:2206.00364. "timesteps": evenly spaced in the time that the
    network was trained on, as DDIM does (Song et al. 2020, arXiv:2010.02502). "trailing": evenly spaced in that time
    too, with the step to 0 as long as the others; sigma_min plays no part (Lin et al. 2023, arXiv:2305.08891, table 2).
    """
    if spacing not in SPACINGS:
        raise unknown("spacing", spacing, SPACINGS)
    if spacing == "karras":
        return karras_sigmas(steps, sigma_min, sigma_max)
    last = schedule.timestep(sigma_max) / steps if spacing == "trailing" else schedule.timestep(sigma_min)
    t = torch.linspace(schedule.timestep(sigma_max), last, steps, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t)
    return torch.cat([(sigma.double() / alpha.double()), t.new_zeros(1)])


def evaluations(steps: int, solver: str = "heun") -> int:
    """How often a solver asks its denoiser for so many steps."""
    return SOLVERS[solver].evaluations(steps)


def solve(
    solver: str,
    denoise: Denoise,
    start_noise: Tensor,
    sigmas: Tensor,
    *,
    churn: float = 0.0,
    churn_noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Unit normal noise [B, ...] -> the last predicted x0, [B, ...]. A solver that does not churn adds no noise."""
    if solver not in SOLVERS:
        raise unknown("solver", solver, SOLVERS)
    churning = {"churn": churn, "churn_noise": churn_noise} if SOLVERS[solver].churns else {}
    return SOLVERS[solver].sample(denoise, start_noise, sigmas, **churning)


def _steps(sigmas: Tensor) -> Iterator[tuple[float, float]]:
    """Each level but the last before 0, with the one that follows."""
    values = [float(sigma) for sigma in sigmas]
    if len(values) < 2 or values[-1] != 0:
        raise ValueError("sigmas must end in 0, after one level or more")
    return zip(values, values[1:-1])


@torch.no_grad()
def euler(denoise: Denoise, start_noise: Tensor, sigmas: Tensor) -> Tensor:
    """Euler's method. On evenly spaced time steps this is DDIM without noise (Karras et al. 2022, appendix C).

    The last level need not be 0: what is returned is then a sample with so much noise.
    """
    x = start_noise * float(sigmas[0])
    for sigma, following in pairwise(sigmas.tolist()):
        x0 = denoise(x, sigma)
        x = x0 + (x - x0) * (following / sigma)
    return x


@torch.no_grad()
def dpmpp_2m(denoise: Denoise, start_noise: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M): Lu et al. 2022, arXiv:2211.01095, algorithm 2. Its first step is Euler's."""
    x, before, width_before = start_noise * float(sigmas[0]), None, 0.0
    for sigma, following in _steps(sigmas):
        x0, width = denoise(x, sigma), math.log(sigma / following)
        ahead = x0 if before is None else x0 + (x0 - before) * (width / (2 * width_before))
        x = x * (following / sigma) - ahead * math.expm1(-width)
        before, width_before = x0, width
    return denoise(x, float(sigmas[-2]))


@torch.no_grad()
def unipc(denoise: Denoise, start_noise: Tensor, sigmas: Tensor) -> Tensor:
    """UniPC of order 2, B(h) = e^h - 1: Zhao et al. 2023, arXiv:2302.04867, algorithms 5 to 8, predicting x0.

    Each prediction of x0 first mends the step that led to it, then takes the next one.
    """
    x, before, width_before = start_noise * float(sigmas[0]), None, 0.0
    x0 = denoise(x, float(sigmas[0]))
    for sigma, following in _steps(sigmas):
        width = math.log(sigma / following)
        moved = -math.expm1(-width)
        straight = x * (following / sigma) + x0 * moved
        if before is None:
            found = denoise(straight, following)
            x = straight + (found - x0) * (moved / 2)
        else:
            slope = (x0 - before) * (width / width_before)  # over this step's width
            found = denoise(straight + slope * (moved / 2), following)
            of_slope, of_found = corrector(width, width_before)
            x = straight + (slope * of_slope + (found - x0) * of_found) * moved
        before, width_before, x0 = x0, width, found
    return x0


def corrector(width: float, width_before: float) -> tuple[float, float]:
    """Weights of the slope before a step and of the change across it, that are right for a parabola.

    Widths are in the logarithm of sigma. Equation 5 of the paper: a system of two for the older point and the new one.
    """
    scale = math.expm1(-width)
    second = scale / -width - 1
    third = second / -width - 0.5
    right = second / scale, 2 * third / scale
    of_slope = (right[0] - right[1]) / (1 + width_before / width)
    return of_slope, right[0] - of_slope


@dataclass(frozen=True)
class Solver:
    """A way to sample, and all that the rest has to know of it."""

    sample: Callable[..., Tensor]  # (denoise, start_noise, sigmas) -> the last predicted x0
    evaluations: Callable[[int], int] = lambda steps: steps  # how often it asks its denoiser for so many steps
    churns: bool = False  # `sample` takes churn and churn_noise besides
    ends_anywhere: bool = False  # its last level need not be 0


SOLVERS = {
    "heun": Solver(heun, evaluations=lambda steps: 2 * steps - 1, churns=True),
    "euler": Solver(euler, ends_anywhere=True),
    "dpmpp-2m": Solver(dpmpp_2m),
    "unipc": Solver(unipc),
}
