"""Training through our loader against the same steps on one fixed batch: what gathering images costs.

    python scripts/bench/step.py

prints the median ratio of interleaved repetitions, on one thread and in its own processor time; 1.00 would be a loader
for free. The rival's images lie ready as floats; ours are taken in a random order, cropped and mirrored as the data
set asks.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median

import torch

from unlearn.batch import Batch
from unlearn.data.loader import Augmentation, Loader
from unlearn.models.base import Classifier, Model
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18
from unlearn.recipe import Recipe
from unlearn.types import Images

REPETITIONS = 7
CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
CROPPED = Augmentation(crop_padding=4, flip=True)
Case = tuple[Model, tuple[int, int, int], Augmentation, int, int]  # images, batch, steps a repetition
CASES: tuple[tuple[str, Case], ...] = (
    ("CNN, MNIST, plain", (Cnn(), MNIST, Augmentation(), 128, 40)),
    ("CNN, CIFAR, crop + flip", (Cnn(width=32), CIFAR, CROPPED, 128, 10)),
    ("ResNet-18, CIFAR, crop + flip", (Resnet18(), CIFAR, CROPPED, 64, 2)),
)


def main() -> None:
    """Print one row per case."""
    torch.set_num_threads(1)
    malloc = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")} or "as it comes"
    print(f"torch {torch.__version__}, {cpu()}, 1 thread, allocator {malloc}, n = {REPETITIONS}, processor time")
    for name, case in CASES:
        row(name, *case)


def row(
    name: str, model: Model, shape: tuple[int, int, int], augmentation: Augmentation, size: int, steps: int
) -> None:
    """Equal weights after a step on the same batch, then both sides in turn."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (size * steps, *shape), dtype=torch.uint8, generator=draws)
    data = Images(pixels, torch.randint(0, 10, (len(pixels),), generator=draws), torch.arange(len(pixels)))
    loader = Loader(data, size, 0, "bench", augmentation)
    fixed = next(loader.batches(0))
    one, other = fresh(model, shape), fresh(model, shape)
    train(one, islice(loader.batches(0), 1))
    train(other, [fixed])
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    pairs = [(train(one, loader.batches(0)), train(other, [fixed] * steps)) for _ in range(REPETITIONS)]
    mine, theirs = (1e3 * median(column) / steps for column in zip(*pairs, strict=True))
    ratio = median(a / b for a, b in pairs)
    print(f"{name:30} batch {size:3}   ours {mine:8.2f} ms a step   fixed batch {theirs:8.2f} ms   ratio {ratio:.3f}")


def fresh(model: Model, shape: tuple[int, int, int]) -> Classifier:
    """The same initial weights every time."""
    torch.manual_seed(0)
    return Classifier(model.net(shape, 10), (0.5,) * shape[0], (0.5,) * shape[0])


def train(model: Classifier, batches: Iterable[Batch]) -> float:
    """Processor seconds of a step on each."""
    optimizer = Recipe(lr=0.001).make_optimizer(model.parameters())
    model.train()
    start = time.thread_time()
    for batch in batches:
        optimizer.zero_grad()
        batch.cross_entropy(model(batch.images)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.thread_time() - start


def cpu() -> str:
    """The processor's name."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
