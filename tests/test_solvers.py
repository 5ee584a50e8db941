"""The solvers against the exact solution of a Gaussian's equation and against diffusers' schedulers on their levels."""

from __future__ import annotations

import math

import pytest
import torch

from suite.models.sampling.denoiser import cosine_schedule, karras_sigmas
from suite.models.sampling.settings import Sampling
from suite.models.sampling.solvers import SOLVERS, evaluations, levels, solve

MEAN, DEVIATION = 0.3, 0.5
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0


def perfect_denoiser(x, sigma):
    return MEAN + DEVIATION**2 / (DEVIATION**2 + sigma**2) * (x - MEAN)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def exact(start):
    """Where the flow takes noise, and the last prediction there."""
    x = MEAN + (start * SIGMA_MAX - MEAN) * math.hypot(DEVIATION, SIGMA_MIN) / math.hypot(DEVIATION, SIGMA_MAX)
    return perfect_denoiser(x, SIGMA_MIN)


def error(method, steps):
    start = noise(1, 1, 64)
    made = solve(method, perfect_denoiser, start, karras_sigmas(steps, SIGMA_MIN, SIGMA_MAX))
    return (made - exact(start)).abs().max().item()


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("dpmpp-2m", 2), ("unipc", 2)])
def test_twice_the_steps_are_as_much_nearer_as_the_order_says(method, order):
    gain = math.log2(error(method, 64) / error(method, 128))
    assert gain == pytest.approx(order, abs=0.5) or gain > order, gain


def test_higher_order_is_nearer_for_the_same_evaluations():
    at = {method: error(method, (32 + 1) // 2 if method == "heun" else 32) for method in SOLVERS}
    assert max(at["dpmpp-2m"], at["unipc"]) < at["euler"] / 3, at


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_each_method_asks_as_often_as_it_says_and_only_at_its_levels(method, steps):
    asked = []

    def denoise(x, sigma):
        asked.append(float(sigma))
        return perfect_denoiser(x, sigma)

    sigmas = karras_sigmas(steps, SIGMA_MIN, SIGMA_MAX)
    made = solve(method, denoise, noise(2, 3, 4), sigmas)
    assert made.shape == (2, 3, 4) and torch.isfinite(made).all()
    assert len(asked) == evaluations(steps, method)
    assert set(asked) == set(sigmas[:-1].tolist())


@pytest.mark.parametrize("method", ["dpmpp-2m", "unipc"])
def test_diffusers_takes_the_same_steps(method):
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    common = dict(num_train_timesteps=1000, beta_schedule="linear", prediction_type="sample", solver_order=2)
    theirs = (
        DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", final_sigmas_type="zero")
        if method == "dpmpp-2m"
        else UniPCMultistepScheduler(**common, solver_type="bh2", final_sigmas_type="zero")
    )
    theirs.set_timesteps(20)
    sigmas = theirs.sigmas.double()
    start = noise(1, 1, 64)
    alpha = 1 / math.hypot(1, sigmas[0])
    x = start * sigmas[0] * alpha
    for step, t in enumerate(theirs.timesteps):
        alpha = 1 / math.hypot(1, sigmas[step])
        x = theirs.step(perfect_denoiser(x / alpha, sigmas[step].item()), t, x).prev_sample
    made = solve(method, perfect_denoiser, start, sigmas)
    assert (made - x).norm() / x.norm() < 1e-5  # their tables are float32


def test_ddim_is_euler_on_even_time_steps():
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        num_train_timesteps=1000,
        prediction_type="sample",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(20)
    kept = theirs.alphas_cumprod[theirs.timesteps].double()
    sigmas = torch.cat([((1 - kept) / kept).sqrt(), torch.zeros(1, dtype=torch.float64)])
    start = noise(1, 1, 64)
    x = start * sigmas[0] / math.hypot(1, sigmas[0])
    for step, t in enumerate(theirs.timesteps):
        x = theirs.step(perfect_denoiser(x * math.hypot(1, sigmas[step]), sigmas[step].item()), t, x).prev_sample
    made = solve("euler", perfect_denoiser, start, sigmas)
    assert (made - x).norm() / x.norm() < 1e-5


def test_even_time_steps():
    schedule = cosine_schedule()
    sigmas = levels("timesteps", schedule, 9, 1e-3, 120.0)
    t = torch.tensor([schedule.timestep(float(sigma)) for sigma in sigmas[:-1]])
    assert sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    assert t.diff().std() < 1e-2 * t.diff().abs().mean()


def test_wrong_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="dpmpp-2m"):
        solve("dpmpp2m", perfect_denoiser, noise(1, 1, 1), karras_sigmas(2, 0.1, 1.0))
    with pytest.raises(ValueError, match="karras"):
        levels("karas", cosine_schedule(), 4, 1e-3, 120.0)
    with pytest.raises(ValueError, match="end in 0"):
        solve("unipc", perfect_denoiser, noise(1, 1, 1), torch.tensor([1.0, 0.5]))


def test_euler_may_leave_some_noise_and_no_other_solver_does():
    """Of a point whose x0 is known, what is left is the same noise, as much less as was asked."""
    start, x0 = noise(2, 4, 6), 0.3
    sigmas = Sampling(3, "euler", sigma_max=0.5, sigma_end=0.02).levels(cosine_schedule(), 0.1, 120.0)
    assert sigmas.tolist()[::3] == pytest.approx([0.5, 0.02])
    left = solve("euler", lambda x, sigma: torch.full_like(x, x0), start + x0 / 0.5, sigmas)
    assert torch.allclose(left, x0 + 0.02 * start, atol=1e-6)
    with pytest.raises(ValueError, match="sigma_end: 0.02 is not possible; heun ends at 0, euler anywhere"):
        Sampling(3, sigma_end=0.02)
    with pytest.raises(ValueError, match="sigma_end: 0.2 is not possible; 0 to less than 0.1"):
        Sampling(3, "euler", sigma_max=0.5, sigma_end=0.2).levels(cosine_schedule(), 0.1, 120.0)
