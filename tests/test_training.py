"""The training recipes: every one takes a step, and a run cut into slices is the run that was not cut."""

from __future__ import annotations

import pytest
import torch

from suite.models.checkpoints.embedded import EMBEDDED, WeightsAbsent
from suite.models.sampling.denoiser import cosine_schedule
from suite.training import train as training
from suite.training.recipe import spread, v_example
from suite.training.train import RECIPES, load_recipe, train

SMALL = "shap-e-nano-autoencoder"  # the quickest to begin

pytestmark = pytest.mark.usefixtures("no_emulated_bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_gives_every_trained_parameter_a_gradient(name):
    try:
        recipe = load_recipe(name)
    except WeightsAbsent as error:  # it goes on from a network that is not trained yet
        pytest.skip(str(error))
    recipe.loss(0, torch.Generator().manual_seed(0)).backward()
    trained = [p for group in recipe.optimizer.param_groups for p in group["params"]]
    names = {id(p): n for n, p in recipe.network.named_parameters()}
    without = [names[id(p)] for p in trained if p.grad is None]
    # What a loss never asks: last CLIP layers under class-token pooling have gradients, diffusers' decoder tables none.
    allowed = ("renderer.mlp.mlp.0.weight", "renderer.mlp.mlp.1.weight", "renderer.void")
    assert [n for n in without if not n.startswith(allowed)] == []
    assert all(p.grad.isfinite().all() for p in trained if p.grad is not None)


@pytest.mark.slow
def test_a_step_depends_on_nothing_but_its_number():
    a, b = load_recipe(SMALL), load_recipe(SMALL)
    b.loss(3, torch.Generator().manual_seed(3))
    torch.rand(7)  # the global generator plays no part
    losses = [recipe.loss(5, torch.Generator().manual_seed(5)).item() for recipe in (a, b)]
    assert losses[0] == losses[1]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(training, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(training, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(training, "HASHES", tmp_path / "weights" / "sha256.json")
    return tmp_path


@pytest.mark.slow
def test_a_run_in_slices_ends_with_the_weights_of_a_whole_one(elsewhere):
    def run(slices: int) -> dict[str, torch.Tensor]:
        for path in elsewhere.glob("*.pt"):
            path.unlink()
        for part in range(1, slices + 1):
            recipe = load_recipe(SMALL)
            recipe.steps = 4
            learning_rate = recipe.learning_rate
            recipe.learning_rate = lambda step, at=learning_rate: at(step) + 1e-4
            limit = 4 * part // slices
            original, taken = recipe.after_step, []

            def after_step(step, original=original, taken=taken):
                original(step)
                taken.append(step)

            recipe.after_step = after_step
            # A slice of so many steps: the clock that ends it counts steps here.
            done = 4 * (part - 1) // slices
            training.time, real = StepClock(taken, limit - done), training.time
            try:
                train(recipe, slice_s=1.0, say=lambda line: None)
            finally:
                training.time = real
        return recipe.finished()

    whole, cut = run(1), run(2)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (elsewhere / "weights" / f"{SMALL}.safetensors").exists()


class StepClock:
    """A clock that jumps when the slice's last step was taken."""

    def __init__(self, taken: list, steps: int):
        self.taken, self.steps = taken, steps

    def monotonic(self) -> float:
        return 10.0 if len(self.taken) >= self.steps else 0.0


def test_shares_are_spread_over_the_batch():
    shares = spread(64, torch.Generator().manual_seed(0))
    assert ((shares * 64).floor() == torch.arange(64)).all()


def test_v_and_the_noisy_sample_give_the_clean_one_back():
    x0, schedule = torch.randn(16, 3, 5), cosine_schedule()
    noisy, t, v = v_example(x0, schedule, torch.Generator().manual_seed(0))
    alpha, sigma = (value[:, None, None] for value in schedule.alpha_sigma(t))
    assert torch.allclose(alpha * noisy - sigma * v, x0, atol=1e-5)


def test_committed_weights_all_together_are_at_most_64_megabytes():
    assert sum(path.stat().st_size for path in EMBEDDED.glob("*.safetensors")) <= 64e6
