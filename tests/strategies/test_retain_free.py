"""Strategies that read D_f alone: each loss by hand on a linear model, and no image or label of the retain set."""

from __future__ import annotations

import math

import pytest
import torch
from builders import only_phase
from test_contract import original, scenario, unlearn
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Context, Phase
from unlearn.strategies.delete import Delete
from unlearn.strategies.jit import Jit
from unlearn.strategies.mu_mis import MuMis
from unlearn.strategies.retain_free import RetainFree
from unlearn.training.unlearner import build_loader

WEIGHT = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])  # z = W x: three classes of two pixels
FORGET = Images(torch.tensor([[[[255, 0]]], [[[0, 255]]]], dtype=torch.uint8), torch.tensor([0, 2]), torch.arange(2))


def linear(weight: Tensor = WEIGHT) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False))
    model[1].weight = nn.Parameter(weight.clone())
    return model.eval()


def phase_of(strategy: RetainFree) -> Phase:
    """Of an original that knows the forget set, and of nothing else."""
    frozen = linear().requires_grad_(False)
    return only_phase(strategy, Context(frozen, linear, {}, {Subset.FORGET: FORGET}, 0))


def loss_of(strategy: RetainFree, model: nn.Module) -> Tensor:
    phase = phase_of(strategy)
    (batch,) = build_loader(phase, 0, 0)
    return phase.loss(model, {Subset.FORGET: batch[Subset.FORGET]}, 0)


def test_delete_distils_from_the_original_without_the_true_class() -> None:
    """z = (1, 0, 3) of class 0, and (0, 2, 1) of class 2; the student is uniform, so KL = ln 3 - H(target)."""
    entropies = [-sum(p * math.log(p) for p in torch.tensor(z).softmax(0).tolist()) for z in ([0.0, 3.0], [0.0, 2.0])]
    expected = math.log(3) - sum(entropies) / 2
    assert loss_of(Delete(), linear(torch.zeros(3, 2))).item() == pytest.approx(expected)


def test_mu_mis_subtracts_the_sensitivity_of_another_class() -> None:
    """dz_c/dx is row c of W, of squared norms 1, 4 and 10; the shift of labels is 1 or 2."""
    squares = [1.0, 4.0, 10.0]
    means = [sum(squares[y] - squares[(y + shift) % 3] for y in (0, 2)) / 2 for shift in (1, 2)]
    assert loss_of(MuMis(), linear()).item() in [pytest.approx(mean) for mean in means]


def test_mu_mis_lowers_the_share_of_the_own_class() -> None:
    model = linear()
    loss_of(MuMis(), model).backward()
    step = model[1].weight.detach() - 0.01 * model[1].weight.grad
    assert step[0].norm() < WEIGHT[0].norm()  # class 0 is forgotten and, by any shift, at most balanced


def test_jit_estimates_the_slope_around_each_sample() -> None:
    """For z = 2 x the slope is 2 whatever the noise; the noise moves the gradient towards smaller weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight = nn.Parameter(2 * torch.eye(2))
    phase = phase_of(Jit(draws=3))
    (batch,) = build_loader(phase, 0, 0)
    loss = phase.loss(model, {Subset.FORGET: batch[Subset.FORGET]}, 0)
    assert loss.item() == pytest.approx(2.0, rel=1e-4)


def test_jit_is_the_formula_with_the_noisy_output_held_constant() -> None:
    strategy, model = Jit(draws=1, noise=0.3), linear()
    (batch,) = build_loader(phase_of(strategy), 0, 0)
    x = batch[Subset.FORGET].images
    xi = 0.3 * torch.randn(x.shape, generator=Context(model, linear, {}, {}, 0).generator("noise"))
    constant = (x + xi).flatten(1) @ WEIGHT.T
    weight = WEIGHT.clone().requires_grad_(True)
    expected = ((x.flatten(1) @ weight.T - constant).norm(dim=1) / xi.flatten(1).norm(dim=1)).mean()
    expected.backward()
    loss = loss_of(strategy, model)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(model[1].weight.grad, weight.grad)


@pytest.mark.parametrize("kind", [Delete, MuMis, Jit])
def test_they_train_without_a_retain_set_and_say_so(kind: type[RetainFree]) -> None:
    data = {subset: images for subset, images in scenario("class").items() if subset is not Subset.RETAIN}
    model = original("batch_norm")
    strategy = kind(recipe=Recipe(epochs=2, batch_size=4, lr=0.01))
    assert not strategy.reads_retain
    result = unlearn(strategy, model, data).model
    assert torch.equal(result.net.norm.running_mean, model.net.norm.running_mean)
    assert not torch.equal(result.net.head.weight, model.net.head.weight)


@pytest.mark.parametrize("kind", [Delete, MuMis, Jit])
def test_label_smoothing_has_no_meaning(kind: type[RetainFree]) -> None:
    (problem,) = kind(recipe=Recipe(label_smoothing=0.1)).check(linear)
    assert problem.key == "strategy.recipe.label_smoothing"
    assert list(problems(kind(), "strategy")) == list(kind().check(linear)) == []


def test_a_stable_loss_is_finite_where_the_output_is_constant() -> None:
    model = linear(torch.zeros(3, 2))
    loss = loss_of(Jit(), model)
    loss.backward()
    assert model[1].weight.grad.isfinite().all()
