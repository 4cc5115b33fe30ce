"""Gradient ascent's bounded objective and its stop rule by hand, and what it does to a small net."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import batch_of, fit_batches, mlp, only_phase, random_images, random_subsets
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Budget, Context, Phase
from unlearn.strategies.gradient_ascent import GradientAscent
from unlearn.training.prediction import predict
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader

HARDWARE = TrainerSettings("cpu")
CLASSES = 3


class Given(nn.Module):
    """Logits that are its only weights, whatever the images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def phase_of(strategy: GradientAscent) -> Phase:
    model = nn.Linear(1, 1)
    return only_phase(strategy, Context(model, lambda: model, {}, {Subset.FORGET: random_images(1, seed=0)}, 0))


def loss_of(strategy: GradientAscent, probabilities: list[float]) -> tuple[float, list[bool]]:
    """The loss of samples whose true class of two has these probabilities, and which of them push."""
    p = torch.tensor(probabilities)
    model = Given(torch.stack([p.log(), (1 - p).log()], dim=1))
    batch = {Subset.FORGET: Batch(torch.zeros(len(p), 1, 2, 2), torch.zeros(len(p), dtype=torch.int64))}
    loss = phase_of(strategy).loss(model, batch, 0)
    loss.backward()
    assert model.logits.grad is not None
    return loss.item(), (model.logits.grad != 0).any(1).tolist()


def test_loss_is_minus_cross_entropy_up_to_the_cap() -> None:
    loss, pushing = loss_of(GradientAscent(loss_cap=1.0), [0.9, 0.5, 0.2])  # losses 0.11, 0.69, 1.61
    assert loss == pytest.approx((math.log(0.9) + math.log(0.5)) / 3)
    assert pushing == [True, True, False]


def test_the_cap_is_a_uniform_guess_unless_set() -> None:
    loss, pushing = loss_of(GradientAscent(), [0.9, 0.51, 0.49])
    assert loss == pytest.approx((math.log(0.9) + math.log(0.51)) / 3)
    assert pushing == [True, True, False]


@pytest.mark.parametrize("bad", [-0.1, float("nan")])
def test_an_impossible_cap_is_refused(bad: float) -> None:
    assert [problem.key for problem in problems(GradientAscent(loss_cap=bad), "strategy")] == ["strategy.loss_cap"]


def test_it_reads_the_forget_set_alone_and_stops_where_unseen_data_score() -> None:
    phase = phase_of(GradientAscent())
    assert set(phase.data) == {Subset.FORGET}
    assert phase.budget == Budget(like_unseen=True, validation_drop=0.02)


# The loop


def normed(forget: Images) -> nn.Module:
    """A net with batch normalisation that knows the forget set by heart; in eval mode."""
    return fit_batches(mlp(16, 64, CLASSES, norm=True), batch_of(forget), steps=150)


def ascend(strategy: GradientAscent, model: nn.Module, data: Mapping[Subset, Images]) -> list[dict[str, float]]:
    phase = replace(phase_of(strategy), data={Subset.FORGET: data[Subset.FORGET]})
    return UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, data).run(HARDWARE)


def accuracy(model: nn.Module, data: Images) -> float:
    found = predict(model, data)
    return (found.logits.argmax(1) == found.labels).double().mean().item()


@pytest.fixture
def data() -> dict[Subset, Images]:
    return random_subsets(CLASSES, forget=33, validation=30, retain=9)


RECIPE = Recipe(epochs=60, batch_size=8, lr=0.02, clip=1.0, weight_decay=0)
STEEP = GradientAscent(recipe=RECIPE, budget=Budget(forget_accuracy=0.5))


def test_it_forgets_down_to_the_target_and_stops(data: dict[Subset, Images]) -> None:
    model = normed(data[Subset.FORGET])
    assert accuracy(model, data[Subset.FORGET]) == 1
    curve = ascend(STEEP, model, data)
    assert accuracy(model, data[Subset.FORGET]) <= 0.5
    assert 1 < len(curve) < 60
    shorter = replace(STEEP, recipe=replace(STEEP.recipe, epochs=len(curve) - 1))
    sooner = normed(data[Subset.FORGET])
    ascend(shorter, sooner, data)
    assert accuracy(sooner, data[Subset.FORGET]) > 0.5


def test_running_statistics_stay_and_all_weights_move(data: dict[Subset, Images]) -> None:
    model = normed(data[Subset.FORGET])
    before = copy.deepcopy(model.state_dict())
    ascend(replace(STEEP, recipe=replace(STEEP.recipe, epochs=2)), model, data)
    after = model.state_dict()
    buffers = {name for name, _ in model.named_buffers()}
    assert len(buffers) == 3
    assert {name for name in after if torch.equal(after[name], before[name])} == buffers


def test_the_cap_holds_the_loss_back(data: dict[Subset, Images]) -> None:
    losses = []
    for cap in (None, 1e6):
        model = normed(data[Subset.FORGET])
        endless = replace(STEEP, budget=Budget(forget_accuracy=0.0), recipe=replace(RECIPE, epochs=30))
        ascend(replace(endless, loss_cap=cap), model, data)
        found = predict(model, data[Subset.FORGET])
        losses.append(F.cross_entropy(found.logits, found.labels).item())
    assert losses[1] > 2 * losses[0]
