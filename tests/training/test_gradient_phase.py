"""Two losses a step, alternating steps, and a second optimizer: each against a loop written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from builders import mlp, random_images
from torch import Tensor, nn

from unlearn.core.progress import Tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.data.loaders import AlternatingLoader, Loader
from unlearn.strategies.base import Batches, Budget, Phase
from unlearn.strategies.gradient_phase import Combine, DualOptim, GradientPhase, SecondLoss, StepGradients
from unlearn.training.partial import Partial
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader

FORGET, RETAIN = Subset.FORGET, Subset.RETAIN
RECIPE = Recipe(epochs=3, batch_size=4, lr=0.1, schedule="cosine", weight_decay=0.01)


def images(n: int) -> Images:
    """The labels 0, 1 and 2 in turn."""
    return random_images(n, seed=n, shape=(1, 2, 2)).relabelled(torch.arange(n) % 3)


DATA = {RETAIN: images(12), FORGET: images(8)}


def net() -> nn.Module:
    return mlp(4, 5, 3, activation=nn.Tanh)


def of(subset: Subset, weight: float = 1.0) -> Callable[[nn.Module, Batches, int], Tensor]:
    return lambda model, batches, _: weight * batches[subset].cross_entropy(model(batches[subset].images))


def by_subset(model: nn.Module, batches: Batches, _: int) -> Tensor:
    """Descent on the retain set, ascent on the forget set."""
    ((subset, batch),) = batches.items()
    return batch.cross_entropy(model(batch.images)) * (-1 if subset == FORGET else 1)


def add(gradients: StepGradients) -> list[Tensor]:
    return [r + f for r, f in zip(gradients.retain, gradients.forget, strict=True)]


def two(combine: Combine, recipe: Recipe = RECIPE) -> GradientPhase:
    return GradientPhase(DATA, of(RETAIN), recipe, second=SecondLoss(of(FORGET, -0.3), combine))


def run(phase: Phase, precision: str = "32", partial: Partial | None = None, tick: Tick | None = None) -> Tensor:
    """The weights after the phase, as one vector."""
    model = net()
    module = UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, DATA)
    module.run(TrainerSettings("cpu", precision=precision), None, tick, partial)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def one_loss(model: nn.Module, batches: Batches, epoch: int) -> Tensor:
    return of(RETAIN)(model, batches, epoch) + of(FORGET, -0.3)(model, batches, epoch)


MASK = {
    name: torch.rand(p.shape, generator=torch.Generator().manual_seed(7)) < 0.5 for name, p in net().named_parameters()
}


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("mask", [None, MASK])
def test_the_sum_of_two_gradients_is_the_gradient_of_the_sum(
    clip: float | None, mask: dict[str, Tensor] | None
) -> None:
    """Also under momentum, weight decay, clipping, a mask, and a budget that ends within an epoch."""
    budget, recipe = Budget(steps=7), replace(RECIPE, clip=clip)
    expected = run(Phase(DATA, one_loss, recipe, mask, budget))
    torch.testing.assert_close(run(replace(two(add, recipe), trainable_mask=mask, budget=budget)), expected)
    assert (expected - run(replace(two(add), budget=Budget(steps=1)))).abs().max() > 1e-3


def test_a_combination_gets_both_gradients_and_the_retain_loss() -> None:
    calls: list[StepGradients] = []

    def retain_alone(gradients: StepGradients) -> list[Tensor]:
        calls.append(gradients)
        return gradients.retain

    phase = two(retain_alone, replace(RECIPE, epochs=1))
    result = run(phase)
    torch.testing.assert_close(result, run(Phase({RETAIN: DATA[RETAIN]}, of(RETAIN), phase.recipe)))
    model, batches = net(), next(iter(build_loader(phase, 0, 0)))
    loss = F.cross_entropy(model(batches[FORGET].images), batches[FORGET].labels)
    for gradient, expected in zip(
        calls[0].forget, torch.autograd.grad(-0.3 * loss, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(gradient, expected)
    first = F.cross_entropy(model(batches[RETAIN].images), batches[RETAIN].labels)
    assert calls[0].retain_loss.item() == pytest.approx(first.item())


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_combines_gradients_without_the_scale(precision: str) -> None:
    def normalised(gradients: StepGradients) -> list[Tensor]:
        """Not linear: with the scale of float16 in it the step would be another."""
        size = torch.cat([g.flatten() for g in gradients.forget]).norm()
        return [r + f * size for r, f in zip(gradients.retain, gradients.forget, strict=True)]

    torch.testing.assert_close(run(two(normalised), precision), run(two(normalised)), rtol=0.05, atol=0.01)


def test_float16_skips_a_step_whose_forget_gradient_is_infinite_even_if_it_is_dropped() -> None:
    phase = GradientPhase(DATA, of(RETAIN), RECIPE, second=SecondLoss(of(FORGET, 1e38), lambda both: both.retain))
    model = net()
    module = UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, DATA)
    module.run(TrainerSettings("cpu", precision="16-mixed"))
    assert module.steps_taken == 0
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), net().parameters(), strict=True))


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_forget_step_precedes_every_nth_retain_step_over_all_epochs(every: int) -> None:
    retain, forget = (Loader(DATA[subset], 4, 0, subset) for subset in (RETAIN, FORGET))
    loader, subsets = AlternatingLoader(retain, forget, every), list[str]()
    for epoch in range(4):
        loader.epoch = epoch
        steps = [name for batch in loader for name in batch]
        assert len(steps) == loader.steps(epoch)
        subsets += steps
    assert subsets.count(RETAIN) == 12
    expected = [step for t in range(1, 13) for step in ([FORGET] if t % every == 0 else []) + [RETAIN]]
    assert subsets == expected


def alternating(**changes: object) -> GradientPhase:
    return replace(GradientPhase(DATA, by_subset, RECIPE, forget_every=2), **changes)  # type: ignore[arg-type]


def by_hand(phase: GradientPhase, optimizers: dict[str, torch.optim.Optimizer], model: nn.Module) -> Tensor:
    """A plain loop over the same batches."""
    loader = build_loader(phase, 0, 0)
    for epoch in range(phase.recipe.epochs):
        loader.epoch = epoch
        for step, batches in enumerate(loader):
            ((subset, _),) = batches.items()
            optimizer = optimizers[subset]
            phase.recipe.set_lr(optimizer, epoch + step / loader.steps(epoch))
            optimizer.zero_grad()
            phase.loss(model, batches, epoch).backward()  # type: ignore[arg-type]
            for name, p in model.named_parameters():
                assert p.grad is not None
                p.grad.mul_(phase.factors.get(Subset(subset), {}).get(name, torch.ones(())))
            if subset in phase.clips:
                nn.utils.clip_grad_norm_(model.parameters(), phase.clips[Subset(subset)])
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_factors_and_bounds_of_a_subset_act_on_its_steps_alone() -> None:
    model = net()
    sgd = RECIPE.make_optimizer(model)
    factors = {FORGET: {"1.weight": torch.full((5, 4), 3.0)}}
    phase = alternating(factors=factors, clips={FORGET: 0.1})
    torch.testing.assert_close(run(phase), by_hand(phase, {RETAIN: sgd, FORGET: sgd}, model))
    assert (run(phase) - run(alternating())).abs().max() > 1e-3


DUAL = DualOptim("adam", lr=0.02)


def test_dual_optim_keeps_the_state_of_each_optimizer() -> None:
    forget = DUAL.recipe(RECIPE)
    assert forget is not None
    model = net()
    optimizers = {RETAIN: RECIPE.make_optimizer(model), FORGET: forget.make_optimizer(model)}
    phase = alternating(forget_optimizer=forget)
    torch.testing.assert_close(run(phase), by_hand(phase, optimizers, model))
    assert (run(phase) - run(alternating())).abs().max() > 1e-3
    assert DualOptim().recipe(RECIPE) is None


@pytest.mark.parametrize("precision", ["32", "16-mixed"])
def test_dual_optim_resumes_with_both_states(tmp_path: Path, precision: str) -> None:
    class Killed(BaseException):
        pass

    def kill(done: float, total: int, /, **details: Any) -> None:
        if done == 2:
            raise Killed

    phase, partial = alternating(forget_optimizer=DUAL.recipe(RECIPE)), Partial(tmp_path / "last.ckpt", 0)
    with pytest.raises(Killed):
        run(phase, precision, partial, kill)
    assert torch.equal(run(phase, precision, partial), run(phase, precision))


def test_a_clip_of_the_recipe_sees_the_gradients_of_the_step_once() -> None:
    phase = alternating(recipe=replace(RECIPE, clip=0.05), forget_optimizer=DUAL.recipe(RECIPE))
    bounded = replace(phase, recipe=RECIPE, clips={FORGET: 0.05, RETAIN: 0.05})
    torch.testing.assert_close(run(phase), run(bounded))
    assert not torch.equal(run(phase), run(alternating(forget_optimizer=DUAL.recipe(RECIPE))))
