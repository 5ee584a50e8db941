import math

import numpy
import pytest
import torch

from suite.models.point_e.network import PointDiffusionTransformer, PointTransformerSettings
from suite.models.sampling.denoiser import (
    Denoiser,
    NoiseSchedule,
    cosine_schedule,
    exponential_schedule,
    heun,
    karras_sigmas,
    linear_schedule,
)
from suite.models.sampling.noise import PromptNoise

MEAN, DEVIATION = 0.3, 0.5
"""Of the one-dimensional Gaussian data whose perfect denoiser is known."""


def perfect_denoiser(x, sigma):
    return MEAN + DEVIATION**2 / (DEVIATION**2 + sigma**2) * (x - MEAN)


def perfect_network(schedule: NoiseSchedule, prediction: str):
    def network(x, t):
        alpha, sigma = (weight[:, None, None].double() for weight in schedule.alpha_sigma(t))
        x0 = MEAN + DEVIATION**2 * alpha * (x - alpha * MEAN) / (alpha**2 * DEVIATION**2 + sigma**2)
        epsilon = (x - alpha * x0) / sigma
        if prediction == "x0":
            return x0
        return epsilon if prediction == "epsilon" else alpha * epsilon - sigma * x0

    return network


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Recorder:
    """A network that answers with `answer(x, t, **conditions)` and remembers what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __call__(self, x, t, **conditions):
        self.asked.append((x, t, conditions))
        return self.answer(x, t, **conditions)


# Noise levels and schedules


def test_karras_sigmas():
    sigmas = karras_sigmas(5, 0.01, 80.0)
    assert sigmas.shape == (6,) and sigmas[-1] == 0
    assert sigmas[0].item() == pytest.approx(80) and sigmas[4].item() == pytest.approx(0.01)
    assert sigmas[2].item() == pytest.approx(((80 ** (1 / 7) + 0.01 ** (1 / 7)) / 2) ** 7)
    assert (sigmas.diff() < 0).all()
    assert karras_sigmas(1, 0.01, 80.0).tolist() == pytest.approx([80, 0])


def test_cosine_schedule():
    kept = cosine_schedule().alphas_cumprod
    ends = (numpy.arange(1025) / 1024 + 0.008) / 1.008
    level = numpy.cos(ends * numpy.pi / 2) ** 2
    assert kept.shape == (1024,)
    assert numpy.allclose(kept[:-1], level[1:-1] / level[0], rtol=1e-9, atol=0)
    assert (kept[-1] / kept[-2]).item() == pytest.approx(0.001)


def test_linear_schedule():
    kept = linear_schedule().alphas_cumprod
    betas = numpy.linspace(0.1 / 1024, 20 / 1024, 1024)
    assert numpy.allclose(kept, numpy.cumprod(1 - betas), rtol=1e-9, atol=0)


def test_exponential_schedule():
    kept = exponential_schedule().alphas_cumprod
    betas = numpy.full(1024, 1 - math.exp(-12 / 1024))
    assert numpy.allclose(kept, numpy.cumprod(1 - betas), rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [cosine_schedule(), linear_schedule(), exponential_schedule()])
def test_timestep_is_the_inverse_of_the_schedule(schedule):
    kept = schedule.alphas_cumprod
    for step in (0, 1, 500, 1022, 1023):
        assert schedule.timestep(math.sqrt(1 / kept[step].item() - 1)) == pytest.approx(step, abs=1e-6)
    for sigma in (0.12, 1.0, 30.0):
        alpha, noise = schedule.alpha_sigma(torch.tensor([schedule.timestep(sigma)], dtype=torch.float64))
        assert (noise / alpha).item() == pytest.approx(sigma, rel=1e-5)
        assert (alpha**2 + noise**2).item() == pytest.approx(1, rel=1e-6)
    assert schedule.timestep(1e-4) == 0 and schedule.timestep(1e9) == 1023


def test_between_time_steps_alphas_cumprod_is_linear():
    schedule = NoiseSchedule(torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64))
    assert schedule.timestep(math.sqrt(1 / 0.7 - 1)) == pytest.approx(0.5)
    alpha, _ = schedule.alpha_sigma(torch.tensor([0.5, 2.0]))
    assert alpha.square().tolist() == pytest.approx([0.7, 0.1])


# Denoiser


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.5, 3.0, 120.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_perfect_network_gives_the_perfect_denoiser(prediction, sigma):
    schedule = cosine_schedule()
    denoise = Denoiser(perfect_network(schedule, prediction), schedule, prediction, clamp=False, truncate=False)
    x = MEAN + normal(2, 1, 4) * math.sqrt(DEVIATION**2 + sigma**2)
    # Below the schedule's first sigma of .006 the network is told a little more noise than there is.
    tolerance = 0.01 if sigma < 0.007 else 2e-5 * max(1, sigma)
    assert torch.allclose(denoise(x, sigma), perfect_denoiser(x, sigma), rtol=0, atol=tolerance)


def test_epsilon_uses_the_whole_time_step_below_as_the_original():
    schedule = linear_schedule()
    network = Recorder(lambda x, t: torch.cat([torch.full_like(x, 0.1), torch.full_like(x, 9.0)], dim=1))
    x, sigma = normal(2, 3, 4), 1.7
    x0 = Denoiser(network, schedule, "epsilon", clamp=False)(x, sigma)
    seen, t, _ = network.asked[0]
    step = int(schedule.timestep(sigma))
    kept = schedule.alphas_cumprod[step]
    assert t.dtype == torch.int64 and t.tolist() == [step, step]
    assert kept > 1 / (1 + sigma**2) > schedule.alphas_cumprod[step + 1]
    assert torch.allclose(seen, x / math.sqrt(1 + sigma**2))
    assert torch.allclose(x0, (seen - (1 - kept).sqrt() * 0.1) / kept.sqrt())


def test_x0_is_what_the_network_says_at_the_whole_time_step_below():
    schedule = exponential_schedule()
    network = Recorder(lambda x, t: torch.cat([torch.full_like(x, 1.5), torch.full_like(x, 9.0)], dim=1))
    x, sigma = normal(2, 3, 4), 1.7
    assert torch.equal(Denoiser(network, schedule, "x0", clamp=False)(x, sigma), torch.full_like(x, 1.5))
    assert torch.equal(Denoiser(network, schedule, "x0")(x, sigma), torch.ones_like(x))
    seen, t, _ = network.asked[0]
    assert t.tolist() == [int(schedule.timestep(sigma))] * 2 and schedule.timestep(sigma) % 1 > 0.01
    assert torch.allclose(seen, x / math.sqrt(1 + sigma**2))


def test_v_uses_the_exact_time_step_unless_told_to_truncate():
    schedule = cosine_schedule()
    network = Recorder(lambda x, t: torch.zeros_like(x))
    x, sigma = normal(1, 1, 1), 1.7
    Denoiser(network, schedule, "v")(x, sigma)
    Denoiser(network, schedule, "v", truncate=True)(x, sigma)
    exact, whole = (t.item() for _, t, _ in network.asked)
    assert exact == pytest.approx(schedule.timestep(sigma)) and exact != int(exact)
    assert whole == int(exact)


@pytest.mark.parametrize("guidance", [0, 1])
def test_without_guidance_the_batch_is_not_doubled(guidance):
    network = Recorder(lambda x, t, clip: x)
    clip = normal(2, 5)
    denoise = Denoiser(network, cosine_schedule(), "v", {"clip": clip, "other": None}, guidance=guidance)
    denoise(normal(2, 3, 4), 1.0)
    x, t, conditions = network.asked[0]
    assert not denoise.guided and len(x) == len(t) == 2
    assert conditions.keys() == {"clip"} and torch.equal(conditions["clip"], clip)


def test_guidance_doubles_the_batch_and_zeroes_every_condition():
    network = Recorder(lambda x, t, clip, low_resolution: x)
    clip, low = normal(2, 5), normal(2, 3, 4)
    denoise = Denoiser(network, cosine_schedule(), "v", {"clip": clip, "low_resolution": low}, guidance=3.0)
    assert denoise.guided and denoise(normal(2, 3, 4), 1.0).shape == (2, 3, 4)
    x, t, conditions = network.asked[0]
    assert len(network.asked) == 1 and len(t) == 4
    assert torch.equal(x[:2], x[2:])
    for name, value in {"clip": clip, "low_resolution": low}.items():
        assert torch.equal(conditions[name][:2], value)
        assert not conditions[name][2:].any()


def test_guidance_extrapolates_x0_after_each_half_is_clamped():
    sigma = 2.0
    alpha, noise = 1 / math.sqrt(1 + sigma**2), sigma / math.sqrt(1 + sigma**2)

    def network(x, t, clip):  # the v of which x0 is the condition itself
        return (alpha * x - clip[:, :, None]) / noise

    x, clip = normal(1, 2, 3), torch.tensor([[0.25, 1.5]], dtype=torch.float64)
    guided = Denoiser(network, cosine_schedule(), "v", {"clip": clip}, guidance=3.0)(x, sigma)
    free = Denoiser(network, cosine_schedule(), "v", {"clip": clip}, guidance=3.0, clamp=False)(x, sigma)
    assert torch.allclose(guided, torch.tensor([0.75, 3.0], dtype=torch.float64)[:, None].expand(2, 3))
    assert torch.allclose(free, torch.tensor([0.75, 4.5], dtype=torch.float64)[:, None].expand(2, 3))


def test_wrong_denoisers_are_refused():
    with pytest.raises(ValueError, match="prediction"):
        Denoiser(lambda x, t: x, cosine_schedule(), "x_0")
    with pytest.raises(ValueError, match="guidance 3"):
        Denoiser(lambda x, t: x, cosine_schedule(), "v", {"clip": None}, guidance=3)


# Heun


def test_heun_converges_with_order_two():
    low, high = 0.1, 20.0
    start = normal(64)
    at_low = MEAN + (high * start - MEAN) * math.sqrt((DEVIATION**2 + low**2) / (DEVIATION**2 + high**2))
    exact = perfect_denoiser(at_low, low)
    samples = [heun(perfect_denoiser, start, karras_sigmas(steps, low, high)) for steps in (40, 80, 160)]
    errors = [(sample - exact).abs().max().item() for sample in samples]
    assert errors[0] < 0.01
    for coarse, fine in zip(errors, errors[1:]):
        assert 3.5 < coarse / fine < 4.5


def test_heun_returns_the_last_predicted_x0():
    answers = []

    def denoise(x, sigma):
        answers.append(0.5 * x)
        return answers[-1]

    assert heun(denoise, normal(2, 3), karras_sigmas(4, 0.1, 10.0)) is answers[-1]


def test_churn_adds_the_noise_it_raises_sigma_by():
    # A denoiser that finds nothing to remove leaves only what churn adds.
    start, noises, sigmas = normal(2, 3), normal(4, 2, 3, seed=1), karras_sigmas(4, 0.5, 10.0)
    recipe = {"churn": 1.0, "churn_noise": lambda step: noises[step], "s_tmin": 0.6, "s_tmax": 9.0, "s_noise": 1.1}
    seen = []

    def still(x, sigma):
        seen.append(sigma)
        return x

    result = heun(still, start, sigmas, **recipe)
    expected, inside = 10 * start, [1, 2]
    for step in inside:
        expected = expected + noises[step] * 1.1 * sigmas[step] * math.sqrt(1.25**2 - 1)
    assert torch.allclose(result, expected)
    first_of_each_step = [sigma * (1.25 if step in inside else 1) for step, sigma in enumerate(sigmas[:4].tolist())]
    assert seen[::2] == pytest.approx(first_of_each_step)


def test_churn_raises_sigma_by_no_more_than_the_root_of_two():
    seen = []
    one_step = torch.tensor([4.0, 0.0])
    heun(lambda x, sigma: seen.append(sigma) or x, normal(1), one_step, churn=9.0, churn_noise=lambda step: normal(1))
    assert seen == pytest.approx([4 * math.sqrt(2)])


def test_churn_draws_only_where_it_is_needed():
    steps = []

    def noise(step):
        steps.append(step)
        return normal(1)

    sigmas = karras_sigmas(4, 0.5, 10.0)
    heun(perfect_denoiser, normal(1), sigmas, churn=0.0, churn_noise=noise)
    assert steps == []
    heun(perfect_denoiser, normal(1), sigmas, churn=3.0, churn_noise=noise, s_tmax=9.0)
    assert steps == [1, 2, 3]


def test_churned_samples_keep_the_deviation_of_the_data():
    noises = normal(128, 10_000, seed=1)
    sigmas = karras_sigmas(128, 1e-3, 20.0)
    samples = heun(perfect_denoiser, normal(10_000), sigmas, churn=32.0, churn_noise=lambda step: noises[step])
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert samples.std().item() == pytest.approx(DEVIATION, rel=0.03)


def test_wrong_recipes_are_refused():
    with pytest.raises(ValueError, match="churn_noise"):
        heun(perfect_denoiser, normal(1), karras_sigmas(2, 0.1, 1.0), churn=3.0)
    for sigmas in ([1.0, 0.5], [0.0]):
        with pytest.raises(ValueError, match="end in 0"):
            heun(perfect_denoiser, normal(1), torch.tensor(sigmas))


# A whole run


def sample(seeds: list[int]) -> torch.Tensor:
    settings = PointTransformerSettings(
        points=8, width=16, layers=1, heads=2, conditioning="vector", clip_width=6, clip_tokens=1, prediction="v"
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = PointDiffusionTransformer(settings)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    clip = torch.stack([normal(6, seed=seed, dtype=torch.float32) for seed in seeds])
    noise = PromptNoise("m", [str(seed) for seed in seeds], (6, 8))
    denoise = Denoiser(network, cosine_schedule(), "v", {"clip": clip}, guidance=3.0)
    sigmas = karras_sigmas(6, 1e-3, 120.0)
    return heun(denoise, noise.start(), sigmas, churn=3.0, churn_noise=noise.churn)


def test_batching_does_not_change_a_sample():
    together = sample([1, 2, 3])
    assert not torch.allclose(together[0], together[1], atol=0.1)
    for i, seed in enumerate([1, 2, 3]):
        assert torch.allclose(together[i], sample([seed])[0], atol=1e-3)


def test_sampling_repeats_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first = sample([1, 2])
    torch.manual_seed(7)
    assert torch.equal(sample([1, 2]), first)
    torch.set_rng_state(before)
    sample([1])
    assert torch.equal(torch.get_rng_state(), before)
