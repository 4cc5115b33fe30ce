"""Compares squared gradients of each sample, many at once (`functional/per_sample_gradients.py`), with one by one.

Both are equal in float64, which is checked first."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from table import MB, Row, compare, extra_memory, run
from torch import Tensor, nn
from torchvision.models import resnet18

from unlearn.functional.per_sample_gradients import MIN_BATCHED, sum_powers
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18

CASES = {  # net, images, how many of them, goal
    "ResNet-18, ImageNet stem": (lambda: resnet18(num_classes=10), (3, 32, 32), 256, 5.0),
    "ResNet-18, 3x3 stem": (lambda: Resnet18().net((3, 32, 32), 10), (3, 32, 32), 64, 1.0),
    "MNIST CNN": (lambda: Cnn().net((1, 28, 28), 10), (1, 28, 28), 2048, 2.0),
}
NEVER = 0.95  # under this
SAME = 1e-12  # relative to the largest of a tensor


def rows() -> Iterator[Row]:
    """Measure memory and time for each net."""
    for name, (build, shape, n, goal) in CASES.items():
        torch.manual_seed(0)
        net, images, labels = build().eval(), torch.rand(n, *shape), torch.randint(0, 10, (n,))
        size = sum(p.numel() * p.element_size() for p in net.parameters()) / MB
        one_by_one(net, images[:2], labels[:2])
        used = extra_memory(lambda net=net, images=images, labels=labels: at_once(net, images, labels))
        least = 1.0 if size > 32 else None  # for a smaller net, the batch takes most of the memory
        yield Row(f"memory, {name}", "3x the parameters", used, 3 * size, "MB", used / (3 * size), least, True, 1, "")
        note = "one by one too, by hooks that never hold all gradients at once"
        yield timed(f"{name}, 1 in all", net, images[:1], labels[:1], NEVER, note)
        yield timed(f"{name}, {MIN_BATCHED} in all", net, images[:MIN_BATCHED], labels[:MIN_BATCHED], NEVER)
        note = f"float64 within {difference(net, images[:MIN_BATCHED], labels[:MIN_BATCHED]):.0e}"
        yield timed(name, net, images, labels, goal, note)


def timed(name: str, net: nn.Module, images: Tensor, labels: Tensor, goal: float, note: str = "") -> Row:
    """Time both sides in turn, in milliseconds per sample."""
    ours, rival = lambda: at_once(net, images, labels), lambda: one_by_one(net, images, labels)
    pair, n = compare(ours, rival, clock=time.process_time), len(images)
    mine, theirs = 1e3 * pair.ours / n, 1e3 * pair.rival / n
    return Row(f"{name}, a sample", "one by one", mine, theirs, "ms", pair.ratio, goal, clock="cpu", note=note)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed loss, one term per sample."""
    return F.cross_entropy(logits, labels, reduction="sum")


def at_once(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compute as the score stage does, including the check that the net can be batched."""
    return sum_powers(net, [(images, labels)], loss, torch.square)[0]


def one_by_one(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The obvious loop without hooks: one backward pass per sample, with the squares added in place."""
    parameters = dict(net.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
        gradients = torch.autograd.grad(loss(net(image), label), list(parameters.values()))
        for sum_, gradient in zip(total.values(), gradients, strict=True):
            sum_.addcmul_(gradient, gradient)
    return total


def difference(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the largest difference of any entry, relative to the largest entry of its tensor.

    Raises:
        AssertionError: The difference is larger than rounding explains.
    """
    double, pixels = copy.deepcopy(net).double(), images.double()
    fast, slow = at_once(double, pixels, labels), one_by_one(double, pixels, labels)
    worst = max(float((fast[name] - exact).abs().max() / exact.abs().max()) for name, exact in slow.items())
    if worst > SAME:
        raise AssertionError(f"they differ by {worst:.1e}")
    return worst


if __name__ == "__main__":
    run(__file__, rows())
