"""Models trained at once against the same ones trained one after another: equal weights first.

In milliseconds of processor time a step and model, so that neighbours on the machine weigh equally on both; in turn,
SOME of the models stand for all. `choice` is what the shadow models of a run get, by the arithmetic of a step
(`modules/stackable.py`). What sharing all dispatch could gain is told by `as one`: one model that takes the images of
all as one batch, which outgrows the caches where a stack does not.
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
SOME = 2
EPOCHS = 4  # in turn: enough steps that what a training costs once does not count
SETTINGS = TrainerSettings(accelerator="cpu", deterministic=False)


def normalised() -> nn.Module:
    """A digits CNN with batch normalisation."""
    convolutions = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, bias=False)]
    return nn.Sequential(*convolutions, nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


GOALS = {16: 3.5, 64: 1.8}  # by batch, of 32 models of digits
NEVER = 0.95  # under this, wherever they are stacked

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
    ("digits CNN, batch norm", (normalised, DIGITS, 16, 32)),
    ("MNIST MLP", (lambda: Mlp().net(MNIST, 10), MNIST, 64, 16)),
    ("MNIST CNN", (lambda: Cnn().net(MNIST, 10), MNIST, 16, 16)),
    ("MNIST CNN", (lambda: Cnn().net(MNIST, 10), MNIST, 64, 16)),
)


def rows() -> Iterator[Row]:
    """One row a case."""
    for name, (net, shape, batch, count) in CASES:
        made, worst, choice = measured(net, shape, batch, count)
        one = 1e3 * median(as_one(net, shape, batch, count) for _ in range(REPETITIONS))
        goal = GOALS[batch] if shape == DIGITS and count == 32 else NEVER if choice else None
        chosen = f"stacked, at most {choice}" if choice else "in turn"
        note = f"as one {made.rival / one:.1f}x; weights within {worst:.0e}; choice: {chosen}"
        words = "in turn", made.ours, made.rival, "ms", made.ratio, goal
        yield Row(f"{count} x {name}, batch {batch}", *words, clock="cpu", note=note)


def measured(net: Callable[[], nn.Module], shape: Shape, batch: int, count: int) -> tuple[Pair, float, int]:
    """Milliseconds a step and model of both sides, how far weights differ, and how many a run would stack (0: none).

    Raises:
        AssertionError: weights differ.
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
    """The largest of any weight or buffer, trained both ways."""
    one, other = copy.deepcopy(models), copy.deepcopy(models)
    at_once(one, loaders, recipe)
    in_turn(other, loaders, recipe)
    states = [
        zip(a.state_dict().values(), b.state_dict().values(), strict=True) for a, b in zip(one, other, strict=True)
    ][:SOME]
    return max((a.double() - b.double()).abs().max().item() for pairs in states for a, b in pairs)


def fresh(net: Callable[[], nn.Module], seed: int) -> Classifier:
    """A model of that seed."""
    torch.manual_seed(seed)
    return Classifier(net(), (0.5,), (0.5,))


def data(shape: Shape, n: int, seed: int) -> Images:
    """Noise under random labels."""
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, *shape), generator=draws, dtype=torch.uint8)
    return Images(pixels, torch.randint(0, 10, (n,), generator=draws), torch.arange(n))


def at_once(models: list[Classifier], loaders: list[Loader], recipe: Recipe) -> float:
    """Seconds a step and model of training all of them stacked."""
    start = time.process_time()
    fit_stacked(models, loaders, recipe, loaders[0].data.take(torch.arange(16)), lambda done, total: None)
    return (time.process_time() - start) / len(models) / len(loaders[0]) / recipe.epochs


def in_turn(models: list[Classifier], loaders: list[Loader], recipe: Recipe) -> float:
    """Seconds a step and model of the training stage's loop on SOME."""
    start = time.process_time()
    for model, loader in zip(models[:SOME], loaders, strict=False):
        module = ClassifierModule(model, recipe, PairedLoader({"train": loader}), loader.seed, loader.role)
        module.run(SETTINGS, loaders[0].data.take(torch.arange(16)))
    return (time.process_time() - start) / SOME / len(loaders[0]) / recipe.epochs


def as_one(net: Callable[[], nn.Module], shape: Shape, batch: int, count: int) -> float:
    """Seconds a step and model, if all models were one."""
    loader = Loader(data(shape, batch * count * EPOCHS, 0), batch * count, 0, "bench")
    module = ClassifierModule(fresh(net, 0), Recipe(epochs=1, lr=0.01), PairedLoader({"train": loader}), 0, "bench")
    start = time.process_time()
    module.run(SETTINGS)
    return (time.process_time() - start) / len(loader) / count


if __name__ == "__main__":
    run(__file__, rows())
