"""Our training loop against a bare one: the same MNIST-sized CNN, batches, optimizer and seeds; equal weights first.

    python scripts/bench/loop.py

prints the median ratio of interleaved repetitions on one thread; 1.00 would be Lightning for free.
"""

from __future__ import annotations

import platform
import time
from statistics import median

import torch
import torch.nn.functional as F

from unlearn.data.loader import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.modules.classifier import ClassifierModule
from unlearn.modules.trainer import TrainerSettings
from unlearn.recipe import Recipe
from unlearn.seeding import stream_seed
from unlearn.types import Images

CASES = {"MNIST CNN, batch 128": ((1, 28, 28), 128, 6400), "digits CNN, batch 64": ((1, 8, 8), 64, 6400)}
REPETITIONS = 5
SETTINGS = TrainerSettings(accelerator="cpu", deterministic=False)


def main() -> None:
    """Print one row per case."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, 1 thread, n = {REPETITIONS}")
    for name, (shape, batch, n) in CASES.items():
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)
        data = Images(pixels, torch.randint(0, 10, (n,), generator=generator), torch.arange(n))
        recipe = Recipe(epochs=2, batch_size=batch)
        torch.testing.assert_close(ours(data, recipe)[1], bare(data, recipe)[1], rtol=0, atol=0)
        pairs = [(ours(data, recipe)[0], bare(data, recipe)[0]) for _ in range(REPETITIONS)]
        mine, theirs = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(a / b for a, b in pairs)
        print(f"{name:24} ours {mine:6.2f} s   bare loop {theirs:6.2f} s   ratio {ratio:.2f}")


def fresh(data: Images) -> Classifier:
    """The same initial weights every time."""
    torch.manual_seed(0)
    shape: tuple[int, int, int] = tuple(data.images.shape[1:])  # type: ignore[assignment]
    return Classifier(Cnn().net(shape, 10), (0.5,), (0.5,))


def ours(data: Images, recipe: Recipe) -> tuple[float, list[torch.Tensor]]:
    """Seconds and final weights of the training stage's loop."""
    model = fresh(data)
    module = ClassifierModule(model, recipe, loader(data, recipe), seed=0, role="bench")
    start = time.perf_counter()
    module.run(SETTINGS)
    return time.perf_counter() - start, list(model.state_dict().values())


def bare(data: Images, recipe: Recipe) -> tuple[float, list[torch.Tensor]]:
    """Seconds and final weights of the shortest loop that does the same."""
    model, batches = fresh(data), loader(data, recipe)
    start = time.perf_counter()
    optimizer = recipe.make_optimizer(model.parameters())
    model.train()
    for epoch in range(recipe.epochs):
        batches.epoch = epoch
        torch.manual_seed(stream_seed(0, "dropout", "bench", epoch))
        for batch in batches:
            images, labels = batch["train"]
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return time.perf_counter() - start, list(model.state_dict().values())


def loader(data: Images, recipe: Recipe) -> PairedLoader:
    """Our batches, for both sides."""
    return PairedLoader({"train": Loader(data, recipe.batch_size, seed=0, role="bench")})


if __name__ == "__main__":
    main()
