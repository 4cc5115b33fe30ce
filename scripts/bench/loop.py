"""Compares our training loop with a bare one on the same net, batches, optimizer and seeds; checks equal weights first.

A ratio of 1.00 means that Lightning costs nothing. `keeping` compares our loop with and without a checkpoint after
every epoch, which is the most that checkpoints can cost.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from table import Row, compare, run

from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.training.classifier import ClassifierModule
from unlearn.training.partial import Partial
from unlearn.training.trainer import TrainerSettings

CASES = {  # image shape, batch size, number of images, goal
    "MNIST CNN, batch 128": ((1, 28, 28), 128, 6400, 1.05),
    "digits CNN, batch 64": ((1, 8, 8), 64, 6400, None),
}
SETTINGS = TrainerSettings(accelerator="cpu", deterministic=False)


def rows() -> Iterator[Row]:
    """Measure each case, and the cost of checkpoints in it."""
    for name, (shape, batch, n, goal) in CASES.items():
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)
        data = Images(pixels, torch.randint(0, 10, (n,), generator=generator), torch.arange(n))
        recipe = Recipe(epochs=2, batch_size=batch)
        torch.testing.assert_close(ours(data, recipe)[1], bare(data, recipe)[1], rtol=0, atol=0)
        pair = compare(
            lambda data=data, recipe=recipe: ours(data, recipe)[0],
            lambda data=data, recipe=recipe: bare(data, recipe)[0],
        )
        yield Row(name, "a bare loop", pair.ours, pair.rival, "s", 1 / pair.ratio, goal, at_most=True, clock="cpu")
        pair = compare(
            lambda data=data, recipe=recipe: kept(data, recipe), lambda data=data, recipe=recipe: ours(data, recipe)[0]
        )
        words = pair.ours, pair.rival, "s", 1 / pair.ratio
        yield Row(f"keeping, {name}", "without checkpoints", *words, at_most=True, clock="cpu")


def fresh(data: Images) -> Classifier:
    """Return a classifier with the same initial weights every time."""
    torch.manual_seed(0)
    shape: tuple[int, int, int] = tuple(data.images.shape[1:])  # type: ignore[assignment]
    return Classifier(Cnn().net(shape, 10), (0.5,), (0.5,))


def ours(data: Images, recipe: Recipe, partial: Partial | None = None) -> tuple[float, list[torch.Tensor]]:
    """Return processor seconds and final weights of the training stage's loop."""
    model = fresh(data)
    module = ClassifierModule(model, recipe, loader(data, recipe), seed=0, role="bench")
    start = time.process_time()
    module.run(SETTINGS, partial=partial)
    return time.process_time() - start, list(model.state_dict().values())


def kept(data: Images, recipe: Recipe) -> float:
    """Return processor seconds of our loop with a checkpoint after every epoch."""
    with tempfile.TemporaryDirectory() as folder:
        return ours(data, recipe, Partial(Path(folder, "last.ckpt"), 0))[0]


def bare(data: Images, recipe: Recipe) -> tuple[float, list[torch.Tensor]]:
    """Return processor seconds and final weights of the shortest loop that does the same."""
    model, batches = fresh(data), loader(data, recipe)
    start = time.process_time()
    optimizer = recipe.make_optimizer(model)
    model.train()
    for epoch in range(recipe.epochs):
        batches.epoch = epoch
        torch.manual_seed(stream_seed(0, "dropout", "bench", epoch))
        for batch in batches:
            images, labels, _ = batch["train"]
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return time.process_time() - start, list(model.state_dict().values())


def loader(data: Images, recipe: Recipe) -> PairedLoader:
    """Return our batches, which both sides use."""
    return PairedLoader({"train": Loader(data, recipe.batch_size, seed=0, role="bench")})


if __name__ == "__main__":
    run(__file__, rows())
