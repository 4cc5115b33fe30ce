"""Channels last and bfloat16 against float32 in the usual layout: training steps, predictions, and accuracy.

    python scripts/bench/precision.py [accuracy]

prints the median ratio of interleaved repetitions, on one thread and in its own processor time. `accuracy` trains a
CNN on the bundled digits from SEEDS as well, both ways: the test accuracies should differ by less than 0.3 points.
bfloat16 is left out on a processor that does not compute in it.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.batch import Batch, sequential
from unlearn.data.datasets.digits import Digits
from unlearn.data.loader import Loader, PairedLoader
from unlearn.models.base import Classifier, Model
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18
from unlearn.modules.classifier import ClassifierModule
from unlearn.modules.layout import channels_last
from unlearn.modules.prediction import BATCH_SIZE, predict
from unlearn.modules.trainer import TrainerSettings
from unlearn.recipe import Recipe
from unlearn.statistics import correct
from unlearn.types import Images

REPETITIONS, SEEDS = 5, (0, 1, 2)
CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
Case = tuple[Model, tuple[int, int, int], int, int]  # batch, images of a prediction
CASES: tuple[tuple[str, Case], ...] = (
    ("CNN, MNIST", (Cnn(), MNIST, 128, 4096)),
    ("CNN of width 32, CIFAR", (Cnn(width=32), CIFAR, 128, 2048)),
    ("ResNet-18, CIFAR", (Resnet18(), CIFAR, 64, 512)),
)
WAYS = {"float32, usual": (False, False), "float32, channels last": (False, True), "bfloat16 + c. l.": (True, True)}


def main() -> None:
    """Print the rows of every case."""
    torch.set_num_threads(1)
    malloc = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")} or "as it comes"
    print(f"torch {torch.__version__}, {cpu()}, 1 thread, allocator {malloc}, n = {REPETITIONS}, processor time")
    able = {"avx512_bf16", "amx_bf16"} & flags()
    ways = {name: way for name, way in WAYS.items() if able or not way[0]}
    if not able:
        print("bfloat16: left out, this processor has neither avx512_bf16 nor amx_bf16")
    for name, (model, shape, batch, n) in CASES:
        steps(name, model, shape, batch, ways)
        predictions(name, model, shape, n)
    if "accuracy" in sys.argv[1:] and able:
        accuracy()


def steps(name: str, model: Model, shape: tuple[int, int, int], size: int, ways: dict[str, tuple[bool, bool]]) -> None:
    """Losses of a first step that agree, then a step of each in turn."""
    images, labels = torch.rand(size, *shape), torch.randint(0, 10, (size,))
    models = {way: fresh(model, shape) for way in ways}
    losses = {way: loss(models[way], Batch(images, labels), *how).item() for way, how in ways.items()}
    assert all(abs(each - losses["float32, usual"]) < 0.05 for each in losses.values()), losses

    def step(way: str) -> float:
        optimizer = Recipe(lr=0.001).make_optimizer(models[way].parameters())
        start = time.thread_time()
        loss(models[way], Batch(images, labels), *ways[way]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return time.thread_time() - start

    rows = [{way: step(way) for way in ways} for _ in range(REPETITIONS + 1)][1:]
    for way in list(ways)[1:]:
        usual, mine = (1e3 * median(row[each] for row in rows) for each in ("float32, usual", way))
        ratio = median(row["float32, usual"] / row[way] for row in rows)
        print(f"{name:24} step, batch {size:3}   {way:24} {mine:8.2f} ms   usual {usual:8.2f} ms   ratio {ratio:.2f}")


def loss(model: Classifier, batch: Batch, mixed: bool, last: bool) -> Tensor:
    """Of a step as training does it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        return F.cross_entropy(model.train()(channels_last(batch.images) if last else batch.images), batch.labels)


def predictions(name: str, model: Model, shape: tuple[int, int, int], n: int) -> None:
    """Equal logits, then both sides in turn."""
    classifier = fresh(model, shape).eval()
    data = Images(torch.randint(0, 256, (n, *shape), dtype=torch.uint8), torch.randint(0, 10, (n,)), torch.arange(n))
    torch.testing.assert_close(predict(classifier, data).logits, usual(classifier, data), rtol=1e-5, atol=1e-5)
    sides: tuple[Callable[[], object], ...] = (lambda: predict(classifier, data), lambda: usual(classifier, data))
    pairs = [tuple(map(seconds, sides)) for _ in range(REPETITIONS)]
    mine, theirs = (1e6 * median(column) / n for column in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in pairs)
    print(
        f"{name:24} predict, {n:4} images   ours {mine:8.1f} us an image   usual {theirs:8.1f} us   ratio {ratio:.2f}"
    )


@torch.no_grad()
def usual(model: Classifier, data: Images) -> Tensor:
    """Logits in float32, in the usual layout."""
    return torch.cat([model(batch.images) for batch in sequential(data, BATCH_SIZE)])


def accuracy() -> None:
    """Test accuracy of a CNN on digits, by precision, as means over SEEDS."""
    found = {way: [trained(seed, *how) for seed in SEEDS] for way, how in WAYS.items()}
    for way, each in found.items():
        print(f"{'CNN, digits':24} test accuracy over {len(SEEDS)} seeds   {way:24} {100 * fmean(each):.2f} %")
    apart = abs(fmean(found["bfloat16 + c. l."]) - fmean(found["float32, usual"]))
    print(f"{'CNN, digits':24} bfloat16 is {100 * apart:.2f} points from float32")


def trained(seed: int, mixed: bool, last: bool) -> float:
    """Test accuracy, 0-1."""
    contents, recipe = Digits().load(), Recipe(epochs=20)
    model = fresh(Cnn(), Digits.shape, seed)
    settings = TrainerSettings("cpu", precision="bf16-mixed" if mixed else "32", channels_last=last)
    loader = PairedLoader({"train": Loader(contents.train, recipe.batch_size, seed, "bench")})
    ClassifierModule(model, recipe, loader, seed, "bench").run(settings)
    return correct(predict(model, contents.test)).mean().item()


def fresh(model: Model, shape: tuple[int, int, int], seed: int = 0) -> Classifier:
    """The same initial weights every time."""
    torch.manual_seed(seed)
    return Classifier(model.net(shape, 10), (0.5,) * shape[0], (0.5,) * shape[0])


def seconds(work: Callable[[], object]) -> float:
    """Of this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def flags() -> set[str]:
    """What the processor can do."""
    return {word for line in cpuinfo() if line.startswith("flags") for word in line.split()}


def cpu() -> str:
    """The processor's name."""
    names = [line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cpuinfo() -> list[str]:
    """Empty where the system does not tell."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
