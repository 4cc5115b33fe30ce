"""Compares channels last and bfloat16 with float32 in the usual layout: training steps, predictions and accuracy.

bfloat16 is left out on a processor without instructions for it. Accuracy is that of a CNN on the bundled digits and, if
MNIST names the folder that torchvision reads, on 10,000 images of MNIST. Over SEEDS, the test accuracies should differ
by less than 0.3 points.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from table import Row, compare, run
from torch import Tensor

from unlearn.core.batch import Batch, iter_batches
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.datasets.base import Dataset
from unlearn.data.datasets.digits import Digits
from unlearn.data.datasets.published import Mnist
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.functional.estimates import is_correct
from unlearn.models.base import Classifier, Model
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18
from unlearn.training.classifier import ClassifierModule
from unlearn.training.layout import channels_last
from unlearn.training.prediction import predict
from unlearn.training.trainer import TrainerSettings

SEEDS = (0, 1, 2)
POINTS = 0.3  # of accuracy
MAX_IMAGES = 10_000
RIVAL_BATCH = 512
CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
Case = tuple[Model, tuple[int, int, int], int, int, float, float | None]  # batch, images predicted, goals of both
CASES: tuple[tuple[str, Case], ...] = (
    ("MNIST CNN", (Cnn(), MNIST, 128, 4096, 2.0, 2.0)),
    ("CIFAR CNN of width 32", (Cnn(width=32), CIFAR, 128, 2048, 2.0, 2.0)),
    ("ResNet-18, CIFAR", (Resnet18(), CIFAR, 64, 512, 1.4, None)),
)
USUAL, LAST, MIXED = (False, False), (False, True), (True, True)  # mixed precision, channels last


def rows() -> Iterator[Row]:
    """Measure steps and predictions of every case, and accuracy."""
    has_bfloat16 = bool({"avx512_bf16", "amx_bf16"} & flags())
    if not has_bfloat16:
        print("bfloat16: left out, this processor has neither avx512_bf16 nor amx_bf16")
    for name, (model, shape, size, n, step_goal, predict_goal) in CASES:
        yield step(f"step in float32, {name}", model, shape, size, LAST, None)
        if has_bfloat16:
            yield step(f"step in bfloat16, {name}", model, shape, size, MIXED, step_goal)
        yield prediction(name, model, shape, n, predict_goal)
    if has_bfloat16:
        yield accuracy("digits", Digits(), Recipe(epochs=20))
        if "MNIST" in os.environ:
            yield accuracy("MNIST", Mnist(root=os.environ["MNIST"]), Recipe(epochs=5, batch_size=128))


def step(
    name: str, model: Model, shape: tuple[int, int, int], size: int, way: tuple[bool, bool], goal: float | None
) -> Row:
    """Check that the losses of a first step agree, then time steps in turn."""
    batch = Batch(torch.rand(size, *shape), torch.randint(0, 10, (size,)))
    mine, theirs = fresh(model, shape), fresh(model, shape)
    torch.testing.assert_close(loss(mine, batch, *way), loss(theirs, batch, *USUAL), rtol=0, atol=0.05)
    pair = compare(lambda: stepped(mine, batch, way), lambda: stepped(theirs, batch, USUAL))
    against = "float32, usual layout"
    return Row(name, against, 1e3 * pair.ours, 1e3 * pair.rival, "ms", pair.ratio, goal, clock="cpu")


def stepped(model: Classifier, batch: Batch, way: tuple[bool, bool]) -> float:
    """Return the processor seconds of one step."""
    optimizer = Recipe(lr=0.001).make_optimizer(model)
    start = time.process_time()
    loss(model, batch, *way).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - start


def loss(model: Classifier, batch: Batch, mixed: bool, last: bool) -> Tensor:
    """Return the loss of a training step."""
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        return F.cross_entropy(model.train()(channels_last(batch.images) if last else batch.images), batch.labels)


def prediction(name: str, model: Model, shape: tuple[int, int, int], n: int, goal: float | None) -> Row:
    """Check for equal logits, then time both sides in turn."""
    classifier = fresh(model, shape).eval()
    data = Images(torch.randint(0, 256, (n, *shape), dtype=torch.uint8), torch.randint(0, 10, (n,)), torch.arange(n))
    torch.testing.assert_close(predict(classifier, data).logits, usual(classifier, data), rtol=1e-5, atol=1e-5)
    pair = compare(lambda: predict(classifier, data), lambda: usual(classifier, data), clock=time.process_time)
    mine, theirs = 1e6 * pair.ours / n, 1e6 * pair.rival / n
    against = f"usual layout, batch {RIVAL_BATCH}"
    return Row(f"prediction, {name}", against, mine, theirs, "us", pair.ratio, goal, clock="cpu")


@torch.no_grad()
def usual(model: Classifier, data: Images) -> Tensor:
    """Return logits in float32, in the usual layout."""
    return torch.cat([model(batch.images) for batch in iter_batches(data, RIVAL_BATCH)])


def accuracy(name: str, dataset: Dataset, recipe: Recipe) -> Row:
    """Compare the test accuracy of a CNN, in points, averaged over SEEDS."""
    contents = dataset.load()
    subset = contents.train.take(torch.arange(min(MAX_IMAGES, len(contents.train))))

    def train_and_test(seed: int, mixed: bool, last: bool) -> float:
        model = fresh(Cnn(), dataset.shape, seed)
        settings = TrainerSettings("cpu", precision="bf16-mixed" if mixed else "32", channels_last=last)
        loader = PairedLoader({"train": Loader(subset, recipe.batch_size, seed, "bench")})
        ClassifierModule(model, recipe, loader, seed, "bench").run(settings)
        return is_correct(predict(model, contents.test)).mean().item()

    mixed, plain = (100 * fmean(train_and_test(seed, *way) for seed in SEEDS) for way in (MIXED, USUAL))
    difference, note = abs(mixed - plain), f"{mixed:.2f} % and {plain:.2f} %"
    return Row(
        f"accuracy in bfloat16, {name} CNN, points",
        "0.3 from float32",
        difference,
        POINTS,
        "",
        difference / POINTS,
        1.0,
        True,
        len(SEEDS),
        "",
        note,
    )


def fresh(model: Model, shape: tuple[int, int, int], seed: int = 0) -> Classifier:
    """Return a classifier with the same initial weights every time."""
    torch.manual_seed(seed)
    return Classifier(model.net(shape, 10), (0.5,) * shape[0], (0.5,) * shape[0])


def flags() -> set[str]:
    """Return the feature flags of the processor."""
    return {
        word
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("flags")
        for word in line.split()
    }


if __name__ == "__main__":
    run(__file__, rows())
