"""Models trained at once against the same ones trained one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_resume import data
from torch import Tensor, nn

from unlearn.core.errors import DivergenceError
from unlearn.core.recipe import Recipe
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.mlp import Mlp
from unlearn.training.classifier import ClassifierModule
from unlearn.training.stackable import MAX_FLOPS, MAX_MODELS, group_size, is_stackable
from unlearn.training.stacked import fit_stacked
from unlearn.training.trainer import TrainerSettings

SGD = Recipe(4, 16, lr=0.1, momentum=0.9, schedule="cosine", warmup=2, clip=1.0)
ADAM = Recipe(4, 16, "adamw", 0.01, schedule="multistep", milestones=[2], label_smoothing=0.1)
COUNT = 3
Make = Callable[[], nn.Module]


def normalised() -> nn.Module:
    """All that keeps or draws something. A bias before batch normalisation would get rounding alone from ADAM."""
    front = (nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2))
    return nn.Sequential(*front, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3))


def cnn() -> nn.Module:
    return Cnn(4, 8, dropout=0.3).net((1, 6, 6), 3)


def mlp() -> nn.Module:
    return Mlp(8, dropout=0.3).net((1, 6, 6), 3)


class Tied(nn.Module):
    """One weight under two names, another that is not learnt, and a buffer that is not kept."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(36, 36), nn.Linear(36, 36), nn.Linear(36, 3)
        self.second.weight = self.first.weight
        self.head.bias.requires_grad_(False)
        self.register_buffer("scale", torch.rand(36), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(x.flatten(1)).relu() * self.scale).relu())
        return logits


def group(make: Make, dtype: torch.dtype = torch.float32) -> tuple[list[Classifier], list[Loader]]:
    """Models and loaders by seed; the last batch is smaller than the others."""
    models = []
    for seed in range(COUNT):
        torch.manual_seed(seed)
        models.append(Classifier(make(), (0.5,), (0.5,)).to(dtype))
    return models, [Loader(data(50, seed), 16, seed, "shadow", Augmentation(1, True)) for seed in range(COUNT)]


def ticks(done: float, total: int, /, **details: Any) -> None:
    assert 0 < done <= total
    assert details["values"]["loss"] > 0


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64])
@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adamw"])
@pytest.mark.parametrize("make", [normalised, cnn, mlp, Tied])
def test_each_model_learns_what_it_would_learn_alone(make: Make, recipe: Recipe, dtype: torch.dtype) -> None:
    """Order, augmentation, dropout, running statistics, clipping and schedule: weights, buffers and curves."""
    stacked, loaders = group(make, dtype)
    alone, initial = copy.deepcopy(stacked), copy.deepcopy(stacked)
    curves = fit_stacked(stacked, loaders, recipe, data(30, 9), ticks)
    near = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-11}  # AdamW divides rounding by rounding
    for number, (model, loader) in enumerate(zip(alone, loaders, strict=True)):
        module = ClassifierModule(model, recipe, PairedLoader({"train": loader}), loader.seed, loader.role)
        curve = module.run(TrainerSettings("cpu"), data(30, 9))
        torch.testing.assert_close(dict(stacked[number].state_dict()), dict(model.state_dict()), **near)
        assert [list(row) for row in curves[number]] == [list(row) for row in curve]
        for mine, theirs in zip(curves[number], curve, strict=True):
            assert mine == pytest.approx(theirs, rel=0, abs=1e-6)
        assert not stacked[number].training
        moved = zip(model.parameters(), initial[number].parameters(), strict=True)
        assert all(torch.equal(*pair) != pair[0].requires_grad for pair in moved)


@pytest.mark.parametrize("make", [normalised, cnn, mlp, Tied])
def test_stackable_nets_are_recognised_and_stay_as_they_are(make: Make) -> None:
    models, loaders = group(make)
    before, state = copy.deepcopy(models), torch.get_rng_state()
    assert is_stackable(models, [next(loader.batches(0)) for loader in loaders])
    assert torch.equal(torch.get_rng_state(), state)
    for model, same in zip(models, before, strict=True):
        torch.testing.assert_close(dict(model.state_dict()), dict(same.state_dict()), rtol=0, atol=0)


class Odd(nn.Module):
    """A net that a stack cannot stand for, one for each reason."""

    seen: Tensor

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.head, self.norm = how, nn.Linear(36, 3), nn.BatchNorm1d(36, momentum=None)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.how == "asks for a value" and x.sum().item() > 1e9:
            x = -x
        elif self.how == "draws by a function":
            x = F.dropout(x, 0.5, self.training)
        elif self.how == "keeps what it renames":
            self.seen = self.seen + x.mean()
        elif self.how == "averages by a count":
            x = self.norm(x)
        elif self.how == "cannot run":
            raise ValueError("no")
        logits: Tensor = self.head(x)
        return logits


@pytest.mark.parametrize(
    "how",
    [
        "asks for a value",
        "draws by a function",
        "keeps what it renames",
        "averages by a count",
        "cannot run",
    ],
)
def test_nets_that_cannot_be_stacked_are_refused(how: str) -> None:
    models, loaders = group(lambda: Odd(how))
    assert not is_stackable(models, [next(loader.batches(0)) for loader in loaders])


def test_dropout_over_memory_in_another_order_is_refused() -> None:
    """Alone it draws along memory, which a stack does not know."""
    front = (nn.Flatten(), nn.Linear(36, 8), nn.Unflatten(1, (2, 4)))
    models, loaders = group(lambda: nn.Sequential(*front, Swapped(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3)))
    assert not is_stackable(models, [next(loader.batches(0)) for loader in loaders])


class Swapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).relu().transpose(0, 1)


def test_only_small_steps_are_stacked() -> None:
    def batch(shape: tuple[int, int, int], size: int) -> Loader:
        images = torch.zeros(size, *shape, dtype=torch.uint8)
        return Loader(type(data(1, 0))(images, torch.zeros(size, dtype=torch.int64), torch.arange(size)), size, 0, "x")

    for shape, size, most in (((1, 8, 8), 16, MAX_MODELS), ((1, 8, 8), 64, 9), ((1, 28, 28), 64, 0)):
        model = Classifier(Cnn().net(shape, 10), (0.5,), (0.5,))
        assert group_size(model, next(batch(shape, size).batches(0))) == most
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(1000, 100)), (0.5,), (0.5,))
    images = batch((1, 10, 100), int(MAX_FLOPS["cpu"] / 2e5))  # 2 x 1000 x 100 operations a sample
    assert group_size(linear, next(images.batches(0)))
    assert not group_size(linear, next(batch((1, 10, 100), int(MAX_FLOPS["cpu"] / 2e5) + 1).batches(0)))


def test_divergence_is_reported() -> None:
    models, loaders = group(cnn)
    with pytest.raises(DivergenceError):
        fit_stacked(models, loaders, Recipe(30, 16, lr=1e4), data(30, 9), ticks)
