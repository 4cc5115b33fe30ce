"""SFRon: its mask, the weights of a forget batch, and alpha's schedule, by hand; and that it forgets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from test_contract import original, prepare, scenario
from torch import nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.strategies.base import Edit
from unlearn.strategies.gradient_phase import DualOptim, GradientPhase
from unlearn.strategies.sfron import Sfron, salient

RECIPE = Recipe(epochs=2, batch_size=8)


def phase_of(strategy: Sfron) -> GradientPhase:
    (phase,) = strategy.phases(prepare(strategy, original("cnn"), scenario("random"), 0)[1], Edit({}))
    assert isinstance(phase, GradientPhase)
    return phase


def test_the_mask_holds_what_matters_more_to_the_forget_set() -> None:
    forget, retain = {"w": torch.tensor([2.0, 1.0, 0.5, 0.0])}, {"w": torch.tensor([1.0, 1.0, 1.0, 0.0])}
    assert salient(forget, retain, 1.0)["w"].tolist() == [1, 1, 0, 1]  # where both are 0, the ratio of the floors is 1
    assert salient(forget, retain, 1.5)["w"].tolist() == [1, 0, 0, 0]


class Fixed(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_a_forget_step_weighs_samples_by_a_negative_power_of_their_loss() -> None:
    """Losses ln 2 and ln 4 at lambda = 2 weigh 4 : 1, so the loss is -alpha (0.8 ln 2 + 0.2 ln 4)."""
    phase = phase_of(Sfron(RECIPE, alpha=3.0, adaptivity=2.0))
    model = Fixed([[0.0, 0.0, -1e4, -1e4], [0.0, 0.0, 0.0, 0.0]])
    batch = {Subset.FORGET: Batch(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))}
    loss = phase.loss(model, batch, 0)
    assert loss.item() == pytest.approx(-3 * (0.8 * math.log(2) + 0.2 * math.log(4)))
    loss.backward()  # the weights are constants: d loss / d z of the first sample is -alpha 0.8 (p - y)
    torch.testing.assert_close(model.logits.grad[0, :2], -3 * 0.8 * torch.tensor([-0.5, 0.5]))


def test_alpha_falls_to_zero_over_the_forget_steps() -> None:
    """59 retain samples, 2 epochs, batches of 8, a forget step every 2: about 7.4 forget steps."""
    phase = phase_of(Sfron(RECIPE, alpha=1.0, forget_every=2))
    batch = {Subset.FORGET: Batch(torch.zeros(1, 1, 8, 8), torch.tensor([0]))}
    losses = [-phase.loss(Fixed([[0.0, 0.0]]), batch, 0).item() / math.log(2) for _ in range(9)]
    expected = [(1 + math.cos(math.pi * min(1, t / (2 * 59 / 16)))) / 2 for t in range(9)]
    assert losses == pytest.approx(expected, abs=1e-6)
    assert losses[-1] == 0


def test_steps_masks_bounds_and_optimizer_reach_the_loop() -> None:
    phase = phase_of(replace(Sfron(RECIPE), forget_clip=2.0, forget_every=3, dual_optim=DualOptim("adam", 1e-3)))
    assert (phase.forget_every, phase.clips) == (3, {Subset.FORGET: 2.0})
    assert phase.forget_optimizer is not None
    assert (phase.forget_optimizer.optimizer, phase.forget_optimizer.lr) == ("adam", 1e-3)
    fractions = [factor.mean().item() for factor in phase.factors[Subset.FORGET].values()]
    assert 0 < sum(fractions) < len(fractions)
    assert phase_of(Sfron(RECIPE)).forget_optimizer is None
