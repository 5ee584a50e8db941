"""The arithmetic of sampling: noise schedules, denoisers, and Heun's method with churn.

Written here because diffusers' HeunDiscreteScheduler has no churn, which the reference recipe of Point-E uses.
Samples are in the variance-exploding parametrization throughout, x = x0 + sigma * noise, as in Karras et al. 2022,
"Elucidating the Design Space of Diffusion-Based Generative Models", https://arxiv.org/abs/2206.00364. Networks are
variance-preserving: they see x / sqrt(1 + sigma**2). Nothing here draws from torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EVERYWHERE = (0.0, math.inf)
"""The interval of all noise levels."""


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels from sigma_max down to sigma_min, then 0: float64 [steps + 1]. Equation 5 of Karras et al. 2022.

    One step is sigma_max alone.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, ramp.new_zeros(1)])


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much of a sample is left at each time step: alphas_cumprod, decreasing, float64 [steps], on the CPU.

    Between whole time steps alphas_cumprod is linear; this is the original's rule for finding the time step of a sigma.
    """

    alphas_cumprod: Tensor

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of sample and noise at time steps t, whole or fractional: x_t = alpha * x0 + sigma * noise.

        Float32, in the shape and on the device of t; alpha**2 + sigma**2 = 1. For training and for judging a network.
        """
        at = t.detach().double().cpu().clamp(0, len(self.alphas_cumprod) - 1)
        below = at.floor().long().clamp(max=len(self.alphas_cumprod) - 2)
        kept = torch.lerp(self.alphas_cumprod[below], self.alphas_cumprod[below + 1], at - below)
        return kept.sqrt().float().to(t.device), (1 - kept).sqrt().float().to(t.device)

    def timestep(self, sigma: float) -> float:
        """The fractional time step whose noise-to-sample ratio is sigma; beyond the schedule, its first or last."""
        kept = 1 / (1 + sigma**2)
        if kept >= self.alphas_cumprod[0]:
            return 0.0
        if kept <= self.alphas_cumprod[-1]:
            return float(len(self.alphas_cumprod) - 1)
        above = int(torch.searchsorted(-self.alphas_cumprod, -kept))
        high, low = self.alphas_cumprod[above - 1].item(), self.alphas_cumprod[above].item()
        return above - 1 + (high - kept) / (high - low)


def cosine_schedule(steps: int = 1024) -> NoiseSchedule:
    """Point-E's base networks and the embedded ones.

    Equation 17 of Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672.
    """
    level = torch.cos((torch.linspace(0, 1, steps + 1, dtype=torch.float64) + 0.008) / 1.008 * (math.pi / 2)) ** 2
    betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)  # the last would be 1, and leave no sample at all
    return NoiseSchedule(torch.cumprod(1 - betas, dim=0))


def linear_schedule(steps: int = 1024) -> NoiseSchedule:
    """Point-E's upsampler. Ho et al. 2020, https://arxiv.org/abs/2006.11239, betas scaled to the number of steps."""
    betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)
    return NoiseSchedule(torch.cumprod(1 - betas, dim=0))


def exponential_schedule(steps: int = 1024) -> NoiseSchedule:
    """Shap-E's: what is left falls by the same factor each step, to exp(-12)."""
    return NoiseSchedule(torch.exp(-12 * torch.arange(1, steps + 1, dtype=torch.float64) / steps))


class Denoiser:
    """A network as a function from (x, sigma) to the predicted x0, both [B, C, N] in network units.

    network: called as `network(x, t, **conditions)`, x scaled to variance 1 and t [B]. It may return more than C
    channels (a learned range); the first C count.
    prediction: what those are. With alpha = 1 / sqrt(1 + sigma**2) and sigma_vp = alpha * sigma,
    "epsilon" gives x0 = (x_vp - sigma_vp * epsilon) / alpha, "v" gives x0 = alpha * x_vp - sigma_vp * v, "x0" itself.
    conditions: named tensors with B rows, or None for one that is not given.
    guidance: s in x0 = x0_without + s * (x0_with - x0_without), by one call of the network on 2B rows: B with the
    conditions, then B with every condition zeroed. As in the original 0 and 1 both mean conditioned and unguided,
    B rows; so 0 is not "without the conditions".
    guided_within: sigmas between which the guidance holds; elsewhere as if it were 1 (arXiv:2404.07724).
    clamp: keep each predicted x0 within ±1, as the original does: with and without the conditions apart, before they
    are combined. A guided x0 can leave ±1.
    truncate: use the whole time step below sigma, and the schedule's alpha there in place of sigma's own. The official
    networks saw whole steps only, and the original rounds down so. By default for all but "v", whose
    networks are trained on fractional steps.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        schedule: NoiseSchedule,
        prediction: Literal["epsilon", "v", "x0"],
        conditions: Mapping[str, Tensor | None] | None = None,
        *,
        guidance: float = 1.0,
        guided_within: tuple[float, float] = EVERYWHERE,
        clamp: bool = True,
        truncate: bool | None = None,
    ):
        if prediction not in ("epsilon", "v", "x0"):
            raise ValueError(f"unknown prediction {prediction!r}")
        self.network = network
        self.schedule = schedule
        self.prediction = prediction
        self.guidance = guidance
        self.guided_within = guided_within
        self.clamp = clamp
        self.truncate = prediction != "v" if truncate is None else truncate
        self.conditions = {name: value for name, value in (conditions or {}).items() if value is not None}
        if self.guided:
            if not self.conditions:
                raise ValueError(f"guidance {guidance} needs a condition to guide by")
            for name, value in self.conditions.items():
                self.conditions[name] = torch.cat([value, torch.zeros_like(value)])

    @property
    def guided(self) -> bool:
        """Whether evaluations within the interval take the network on twice the batch."""
        return self.guidance not in (0, 1)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        sigma = float(sigma)  # a level taken from karras_sigmas is a tensor
        t = self.schedule.timestep(sigma)
        kept = 1 / (1 + sigma**2)
        x = x * math.sqrt(kept)
        guided = self.guided and self.guided_within[0] <= sigma <= self.guided_within[1]
        conditions = self.conditions
        if guided:
            x = torch.cat([x, x])
        elif self.guided:
            conditions = {name: value[: len(x)] for name, value in conditions.items()}
        if self.truncate:
            t = int(t)
            kept = self.schedule.alphas_cumprod[t].item()
        times = torch.full((len(x),), t, device=x.device)
        predicted = self.network(x, times, **conditions)[:, : x.shape[1]].to(x.dtype)
        if self.prediction == "epsilon":
            x0 = x / math.sqrt(kept) - predicted * math.sqrt(1 / kept - 1)
        elif self.prediction == "x0":
            x0 = predicted
        else:
            x0 = x * math.sqrt(kept) - predicted * math.sqrt(1 - kept)
        if self.clamp:
            x0 = x0.clamp(-1, 1)
        if guided:
            given, without = x0.chunk(2)
            x0 = torch.lerp(without, given, self.guidance)
        return x0


@torch.no_grad()
def heun(
    denoise: Callable[[Tensor, float], Tensor],
    start_noise: Tensor,
    sigmas: Tensor,
    *,
    churn: float = 0.0,
    churn_noise: Callable[[int], Tensor] | None = None,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Tensor:
    """Sample by Heun's method with churn, and return the last predicted x0, [B, C, N] in network units.

    Algorithm 2 of Karras et al. 2022, with the original's ending.
    start_noise: unit normal [B, C, N], on the device to sample on; scaled here by the first sigma.
    sigmas: [steps + 1], decreasing, the last 0. The step to 0 takes one evaluation, every other two.
    churn: S_churn. At a step whose sigma lies within s_tmin–s_tmax, sigma is first raised by the factor
    1 + min(churn / steps, sqrt(2) - 1) with new noise of deviation s_noise, unit normal `churn_noise(step)`, called
    only where it is needed.
    """
    levels = [float(sigma) for sigma in sigmas]
    steps = len(levels) - 1
    if steps < 1 or levels[-1] != 0:
        raise ValueError("sigmas must end in 0, after one level or more")
    if churn > 0 and churn_noise is None:
        raise ValueError("churn needs churn_noise")
    x = start_noise * levels[0]
    for step, (sigma, following) in enumerate(zip(levels, levels[1:])):
        if churn > 0 and s_tmin <= sigma <= s_tmax:
            raised = sigma * (1 + min(churn / steps, math.sqrt(2) - 1))
            x = x + churn_noise(step) * (s_noise * math.sqrt(raised**2 - sigma**2))
            sigma = raised
        x0 = denoise(x, sigma)
        if following > 0:
            slope = (x - x0) / sigma
            ahead = x + slope * (following - sigma)
            slope_ahead = (ahead - denoise(ahead, following)) / following
            x = x + (slope + slope_ahead) * ((following - sigma) / 2)
    return x0
