"""Compares training with our loader with the same steps on one fixed batch, which shows the cost of loading.

A ratio of 1.00 means that the loader costs nothing. The rival's images are floats already; ours are gathered in random
order, cropped and mirrored as the data set requires.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from table import Row, compare, run

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import Loader
from unlearn.models.base import Classifier, Model
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18

GOAL, REPETITIONS = 1.03, 7
CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
CROPPED = Augmentation(crop_padding=4, flip=True)
Case = tuple[Model, tuple[int, int, int], Augmentation, int, int]  # images, batch, steps per repetition
CASES: tuple[tuple[str, Case], ...] = (
    ("CNN, MNIST, plain", (Cnn(), MNIST, Augmentation(), 128, 40)),
    ("CNN, CIFAR, crop + flip", (Cnn(width=32), CIFAR, CROPPED, 128, 10)),
    ("ResNet-18, CIFAR, crop + flip", (Resnet18(), CIFAR, CROPPED, 64, 2)),
)


def rows() -> Iterator[Row]:
    """For every case, check for equal weights after a step on the same batch, then time both sides in turn."""
    for name, (model, shape, augmentation, size, steps) in CASES:
        loader = make_loader(shape, augmentation, size, steps)
        fixed, one, other = next(loader.batches(0)), fresh(model, shape), fresh(model, shape)
        train(one, islice(loader.batches(0), 1))
        train(other, [fixed])
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
        pair = compare(
            lambda one=one, loader=loader: train(one, loader.batches(0)),
            lambda other=other, fixed=fixed, steps=steps: train(other, [fixed] * steps),
            REPETITIONS,
        )
        mine, theirs = 1e3 * pair.ours / steps, 1e3 * pair.rival / steps
        yield Row(
            f"{name}, batch {size}",
            "one fixed batch",
            mine,
            theirs,
            "ms",
            1 / pair.ratio,
            GOAL,
            at_most=True,
            n=REPETITIONS,
            clock="cpu",
        )


def make_loader(shape: tuple[int, int, int], augmentation: Augmentation, size: int, steps: int) -> Loader:
    """Return a loader with this number of batches of random images."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (size * steps, *shape), dtype=torch.uint8, generator=draws)
    data = Images(pixels, torch.randint(0, 10, (len(pixels),), generator=draws), torch.arange(len(pixels)))
    return Loader(data, size, 0, "bench", augmentation)


def fresh(model: Model, shape: tuple[int, int, int]) -> Classifier:
    """Return a classifier with the same initial weights every time."""
    torch.manual_seed(0)
    return Classifier(model.net(shape, 10), (0.5,) * shape[0], (0.5,) * shape[0])


def train(model: Classifier, batches: Iterable[Batch]) -> float:
    """Return the processor seconds of one step per batch."""
    optimizer = Recipe(lr=0.001).make_optimizer(model)
    model.train()
    start = time.thread_time()
    for batch in batches:
        optimizer.zero_grad()
        batch.cross_entropy(model(batch.images)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.thread_time() - start


if __name__ == "__main__":
    run(__file__, rows())
