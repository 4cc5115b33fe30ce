"""Models trained at once against the same ones trained one after another: equal weights first.

    python scripts/bench/stacked.py

prints the median ratio of interleaved repetitions on one thread, in processor time, so that neighbours on the machine
weigh equally on both; in turn, SOME of the models stand for all. `choice` is what the shadow models of a run get, by
the arithmetic of a step (`modules/stacked.py`).
"""

from __future__ import annotations

import copy
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from unlearn.data.loader import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.mlp import Mlp
from unlearn.modules.classifier import ClassifierModule
from unlearn.modules.stackable import agree, group_size
from unlearn.modules.stacked import fit_stacked
from unlearn.modules.trainer import TrainerSettings
from unlearn.recipe import Recipe
from unlearn.types import Images

Shape = tuple[int, int, int]
DIGITS, MNIST = (1, 8, 8), (1, 28, 28)
REPETITIONS, SOME = 5, 2
EPOCHS = 4  # in turn: enough steps that what a training costs once does not count
SETTINGS = TrainerSettings(accelerator="cpu", deterministic=False)


def normalised() -> nn.Module:
    """A digits CNN with batch normalisation."""
    convolutions = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, bias=False)]
    return nn.Sequential(*convolutions, nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


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


def main() -> None:
    """Print one row per case."""
    torch.set_num_threads(1)
    malloc = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")} or "as it comes"
    print(f"torch {torch.__version__}, {cpu()}, 1 thread, allocator {malloc}, n = {REPETITIONS}")
    for name, case in CASES:
        row(name, *case)


def row(name: str, net: Callable[[], nn.Module], shape: Shape, batch: int, count: int) -> None:
    """Equal weights, then both sides in turn."""
    n = batch * (10 if shape == MNIST else 40)
    models = [fresh(net, seed) for seed in range(count)]
    loaders = [Loader(data(shape, n, seed), batch, seed, "bench") for seed in range(count)]
    recipe = Recipe(epochs=1, batch_size=batch, lr=0.01)
    longer = replace(recipe, epochs=EPOCHS)
    worst = difference(models, loaders, recipe)
    if worst > 1e-6:
        raise AssertionError(f"{name}: weights differ by {worst:.1e}")
    pairs = [(at_once(models, loaders, recipe), in_turn(models, loaders, longer)) for _ in range(REPETITIONS)]
    mine, theirs = (1e3 * median(column) for column in zip(*pairs, strict=True))
    batches = [next(loader.batches(0)) for loader in loaders[:2]]
    size = group_size(models[0], batches[0]) if agree(models[:2], batches) else 0
    choice = f"stacked, at most {size}" if size else "in turn"
    print(
        f"{name:24} batch {batch:3}   {count:2} models   stacked {mine:6.2f} ms a step and model   "
        f"in turn {theirs:6.2f} ms   ratio {median(b / a for a, b in pairs):5.2f}   choice: {choice}   "
        f"weights within {worst:.0e}",
        flush=True,
    )


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


def cpu() -> str:
    """The processor's name."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
