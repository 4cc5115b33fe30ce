"""Channels last and bfloat16 against float32 in the usual layout: training steps, predictions, and accuracy.

bfloat16 is left out on a processor that does not compute in it. Accuracy is that of a CNN on the bundled digits and,
where MNIST names the folder that torchvision reads, on 10,000 of its images; both ways from SEEDS: the test accuracies
should differ by less than 0.3 points.
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
MOST = 10_000  # images
RIVAL = 512  # images of a batch, as they were predicted before
CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
Case = tuple[Model, tuple[int, int, int], int, int, float, float | None]  # batch, images predicted, goals of both
CASES: tuple[tuple[str, Case], ...] = (
    ("MNIST CNN", (Cnn(), MNIST, 128, 4096, 2.0, 2.0)),
    ("CIFAR CNN of width 32", (Cnn(width=32), CIFAR, 128, 2048, 2.0, 2.0)),
    ("ResNet-18, CIFAR", (Resnet18(), CIFAR, 64, 512, 1.4, None)),
)
USUAL, LAST, MIXED = (False, False), (False, True), (True, True)  # mixed precision, channels last


def rows() -> Iterator[Row]:
    """Steps and predictions of every case, and accuracy."""
    able = bool({"avx512_bf16", "amx_bf16"} & flags())
    if not able:
        print("bfloat16: left out, this processor has neither avx512_bf16 nor amx_bf16")
    for name, (model, shape, size, n, step_goal, predict_goal) in CASES:
        yield step(f"step in float32, {name}", model, shape, size, LAST, None)
        if able:
            yield step(f"step in bfloat16, {name}", model, shape, size, MIXED, step_goal)
        yield prediction(name, model, shape, n, predict_goal)
    if able:
        yield accuracy("digits", Digits(), Recipe(epochs=20))
        if "MNIST" in os.environ:
            yield accuracy("MNIST", Mnist(root=os.environ["MNIST"]), Recipe(epochs=5, batch_size=128))


def step(
    name: str, model: Model, shape: tuple[int, int, int], size: int, way: tuple[bool, bool], goal: float | None
) -> Row:
    """Losses of a first step that agree, then a step of each in turn."""
    batch = Batch(torch.rand(size, *shape), torch.randint(0, 10, (size,)))
    mine, theirs = fresh(model, shape), fresh(model, shape)
    torch.testing.assert_close(loss(mine, batch, *way), loss(theirs, batch, *USUAL), rtol=0, atol=0.05)
    pair = compare(lambda: stepped(mine, batch, way), lambda: stepped(theirs, batch, USUAL))
    against = "float32, usual layout"
    return Row(name, against, 1e3 * pair.ours, 1e3 * pair.rival, "ms", pair.ratio, goal, clock="cpu")


def stepped(model: Classifier, batch: Batch, way: tuple[bool, bool]) -> float:
    """Processor seconds of a step."""
    optimizer = Recipe(lr=0.001).make_optimizer(model)
    start = time.process_time()
    loss(model, batch, *way).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - start


def loss(model: Classifier, batch: Batch, mixed: bool, last: bool) -> Tensor:
    """Of a step as training does it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        return F.cross_entropy(model.train()(channels_last(batch.images) if last else batch.images), batch.labels)


def prediction(name: str, model: Model, shape: tuple[int, int, int], n: int, goal: float | None) -> Row:
    """Equal logits, then both sides in turn."""
    classifier = fresh(model, shape).eval()
    data = Images(torch.randint(0, 256, (n, *shape), dtype=torch.uint8), torch.randint(0, 10, (n,)), torch.arange(n))
    torch.testing.assert_close(predict(classifier, data).logits, usual(classifier, data), rtol=1e-5, atol=1e-5)
    pair = compare(lambda: predict(classifier, data), lambda: usual(classifier, data), clock=time.process_time)
    mine, theirs = 1e6 * pair.ours / n, 1e6 * pair.rival / n
    against = f"usual layout, batch {RIVAL}"
    return Row(f"prediction, {name}", against, mine, theirs, "us", pair.ratio, goal, clock="cpu")


@torch.no_grad()
def usual(model: Classifier, data: Images) -> Tensor:
    """Logits in float32, in the usual layout."""
    return torch.cat([model(batch.images) for batch in iter_batches(data, RIVAL)])


def accuracy(name: str, dataset: Dataset, recipe: Recipe) -> Row:
    """Test accuracy of a CNN, as means over SEEDS, in points."""
    contents = dataset.load()
    some = contents.train.take(torch.arange(min(MOST, len(contents.train))))

    def trained(seed: int, mixed: bool, last: bool) -> float:
        model = fresh(Cnn(), dataset.shape, seed)
        settings = TrainerSettings("cpu", precision="bf16-mixed" if mixed else "32", channels_last=last)
        loader = PairedLoader({"train": Loader(some, recipe.batch_size, seed, "bench")})
        ClassifierModule(model, recipe, loader, seed, "bench").run(settings)
        return is_correct(predict(model, contents.test)).mean().item()

    mixed, plain = (100 * fmean(trained(seed, *way) for seed in SEEDS) for way in (MIXED, USUAL))
    apart, note = abs(mixed - plain), f"{mixed:.2f} % and {plain:.2f} %"
    return Row(
        f"accuracy in bfloat16, {name} CNN, points",
        "0.3 from float32",
        apart,
        POINTS,
        "",
        apart / POINTS,
        1.0,
        True,
        len(SEEDS),
        "",
        note,
    )


def fresh(model: Model, shape: tuple[int, int, int], seed: int = 0) -> Classifier:
    """The same initial weights every time."""
    torch.manual_seed(seed)
    return Classifier(model.net(shape, 10), (0.5,) * shape[0], (0.5,) * shape[0])


def flags() -> set[str]:
    """What the processor can do."""
    return {
        word
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("flags")
        for word in line.split()
    }


if __name__ == "__main__":
    run(__file__, rows())
