"""Compares training models at once, stacked, with training them one after another, after checking equal weights.

Times are milliseconds of processor time per step and model. For training in turn, SAMPLED of the models stand for all.
`choice` is what a run does with its shadow models, by the arithmetic of a step (`training/stackable.py`). `as one` is
one model that takes the images of all models as one batch: it shows what sharing all dispatch could gain, but its batch
outgrows the caches where a stack does not.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
from table import REPETITIONS, Pair, Row, compare, run
from torch import nn

from unlearn.core.progress import ignore_tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.mlp import Mlp
from unlearn.training.classifier import ClassifierModule
from unlearn.training.stackable import group_size, is_stackable
from unlearn.training.stacked import fit_stacked
from unlearn.training.trainer import TrainerSettings

Shape = tuple[int, int, int]
DIGITS, MNIST = (1, 8, 8), (1, 28, 28)
SAMPLED = 2
EPOCHS = 4  # for training in turn: enough steps that the fixed cost of a training does not matter
SETTINGS = TrainerSettings(accelerator="cpu", deterministic=False)


def batch_norm_cnn() -> nn.Module:
    """Return a CNN for digits with batch normalisation."""
    convolutions = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, bias=False)]
    return nn.Sequential(*convolutions, nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


GOALS = {16: 3.5, 64: 1.8}  # by batch, of 32 models of digits
NEVER = 0.95  # a stack must not be slower than this

Case = tuple[Callable[[], nn.Module], Shape, int, int]  # net, images, batch, models
CASES: tuple[tuple[str, Case], ...] = (
    ("digits MLP of 64", (lambda: Mlp(64).net(DIGITS, 10), DIGITS, 16, 32)),
    ("digits MLP of 64", (lambda: Mlp(64).net(DIGITS, 10), DIGITS, 64, 32)),
    ("digits MLP", (lambda: Mlp().net(DIGITS, 10), DIGITS, 64, 32)),
    ("digits CNN", (lambda: Cnn().net(DIGITS, 10), DIGITS, 16, 32)),
    ("digits CNN", (lambda: Cnn().net(DIGITS, 10), DIGITS, 64, 32)),
    ("digits CNN, 8 models", (lambda: Cnn().net(DIGITS, 10), DIGITS, 64, 8)),
    ("digits CNN, 4 models", (lambda: Cnn().net(DIGITS, 10), DIGITS, 64, 4)),
    ("digits CNN, dropout", (lambda: Cnn(dropout=0.3).net(DIGITS, 10), DIGITS, 16, 32)),
    ("digits CNN, batch norm", (batch_norm_cnn, DIGITS, 16, 32)),
    ("MNIST MLP", (lambda: Mlp().net(MNIST, 10), MNIST, 64, 16)),
    ("MNIST CNN", (lambda: Cnn().net(MNIST, 10), MNIST, 16, 16)),
    ("MNIST CNN", (lambda: Cnn().net(MNIST, 10), MNIST, 64, 16)),
)


def rows() -> Iterator[Row]:
    """Measure each case."""
    for name, (net, shape, batch, count) in CASES:
        pair, worst, choice = measure(net, shape, batch, count)
        one = 1e3 * median(as_one(net, shape, batch, count) for _ in range(REPETITIONS))
        goal = GOALS[batch] if shape == DIGITS and count == 32 else NEVER if choice else None
        chosen = f"stacked, at most {choice}" if choice else "in turn"
        note = f"as one {pair.rival / one:.1f}x; weights within {worst:.0e}; choice: {chosen}"
        words = "in turn", pair.ours, pair.rival, "ms", pair.ratio, goal
        yield Row(f"{count} x {name}, batch {batch}", *words, clock="cpu", note=note)


def measure(net: Callable[[], nn.Module], shape: Shape, batch: int, count: int) -> tuple[Pair, float, int]:
    """Measure one case.

    Returns:
        Milliseconds per step and model of both sides, the largest difference of weights, and how many models a run
        would stack at most (0: none).

    Raises:
        AssertionError: Weights differ.
    """
    n = batch * (10 if shape == MNIST else 40)
    models = [fresh(net, seed) for seed in range(count)]
    loaders = [Loader(data(shape, n, seed), batch, seed, "bench") for seed in range(count)]
    recipe = Recipe(epochs=1, batch_size=batch, lr=0.01)
    longer = replace(recipe, epochs=EPOCHS)
    worst = difference(models, loaders, recipe)
    if worst > 1e-6:
        raise AssertionError(f"weights differ by {worst:.1e}")
    pair = compare(lambda: 1e3 * at_once(models, loaders, recipe), lambda: 1e3 * in_turn(models, loaders, longer))
    batches = [next(loader.batches(0)) for loader in loaders[:2]]
    return pair, worst, group_size(models[0], batches[0]) if is_stackable(models[:2], batches) else 0


def difference(models: list[Classifier], loaders: list[Loader], recipe: Recipe) -> float:
    """Return the largest difference of any weight or buffer after training both ways."""
    one, other = copy.deepcopy(models), copy.deepcopy(models)
    at_once(one, loaders, recipe)
    in_turn(other, loaders, recipe)
    states = [
        zip(a.state_dict().values(), b.state_dict().values(), strict=True) for a, b in zip(one, other, strict=True)
    ][:SAMPLED]
    return max((a.double() - b.double()).abs().max().item() for pairs in states for a, b in pairs)


def fresh(net: Callable[[], nn.Module], seed: int) -> Classifier:
    """Return a model with the initial weights of this seed."""
    torch.manual_seed(seed)
    return Classifier(net(), (0.5,), (0.5,))


def data(shape: Shape, n: int, seed: int) -> Images:
    """Return images of noise with random labels."""
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, *shape), generator=draws, dtype=torch.uint8)
    return Images(pixels, torch.randint(0, 10, (n,), generator=draws), torch.arange(n))


def at_once(models: list[Classifier], loaders: list[Loader], recipe: Recipe) -> float:
    """Return seconds per step and model of training all models stacked."""
    start = time.process_time()
    fit_stacked(models, loaders, recipe, loaders[0].data.take(torch.arange(16)), ignore_tick)
    return (time.process_time() - start) / len(models) / len(loaders[0]) / recipe.epochs


def in_turn(models: list[Classifier], loaders: list[Loader], recipe: Recipe) -> float:
    """Return seconds per step and model of the training stage's loop on SAMPLED models."""
    start = time.process_time()
    for model, loader in zip(models[:SAMPLED], loaders, strict=False):
        module = ClassifierModule(model, recipe, PairedLoader({"train": loader}), loader.seed, loader.role)
        module.run(SETTINGS, loaders[0].data.take(torch.arange(16)))
    return (time.process_time() - start) / SAMPLED / len(loaders[0]) / recipe.epochs


def as_one(net: Callable[[], nn.Module], shape: Shape, batch: int, count: int) -> float:
    """Return seconds per step and model if all models were one."""
    loader = Loader(data(shape, batch * count * EPOCHS, 0), batch * count, 0, "bench")
    module = ClassifierModule(fresh(net, 0), Recipe(epochs=1, lr=0.01), PairedLoader({"train": loader}), 0, "bench")
    start = time.process_time()
    module.run(SETTINGS)
    return (time.process_time() - start) / len(loader) / count


if __name__ == "__main__":
    run(__file__, rows())
