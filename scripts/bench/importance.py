"""Squared gradients of single samples: many at once (`functional/per_sample_gradients.py`) against one by one.

Equal in float64 first."""

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
    """Memory and time of each net."""
    for name, (build, shape, n, goal) in CASES.items():
        torch.manual_seed(0)
        net, images, labels = build().eval(), torch.rand(n, *shape), torch.randint(0, 10, (n,))
        size = sum(p.numel() * p.element_size() for p in net.parameters()) / MB
        one_by_one(net, images[:2], labels[:2])
        used = extra_memory(lambda net=net, images=images, labels=labels: at_once(net, images, labels))
        least = 1.0 if size > 32 else None  # a smaller net's parameters are nothing beside a batch
        yield Row(f"memory, {name}", "3x the parameters", used, 3 * size, "MB", used / (3 * size), least, True, 1, "")
        note = "one by one too, by hooks that never hold all gradients at once"
        yield timed(f"{name}, 1 in all", net, images[:1], labels[:1], NEVER, note)
        yield timed(f"{name}, {MIN_BATCHED} in all", net, images[:MIN_BATCHED], labels[:MIN_BATCHED], NEVER)
        note = f"float64 within {difference(net, images[:MIN_BATCHED], labels[:MIN_BATCHED]):.0e}"
        yield timed(name, net, images, labels, goal, note)


def timed(name: str, net: nn.Module, images: Tensor, labels: Tensor, goal: float, note: str = "") -> Row:
    """Both sides in turn, in milliseconds a sample."""
    ours, rival = lambda: at_once(net, images, labels), lambda: one_by_one(net, images, labels)
    pair, n = compare(ours, rival, clock=time.process_time), len(images)
    mine, theirs = 1e3 * pair.ours / n, 1e3 * pair.rival / n
    return Row(f"{name}, a sample", "one by one", mine, theirs, "ms", pair.ratio, goal, clock="cpu", note=note)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """A sum of one number per sample."""
    return F.cross_entropy(logits, labels, reduction="sum")


def at_once(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """As scores are made, the check that the net can be trusted included."""
    return sum_powers(net, [(images, labels)], loss, torch.square)[0]


def one_by_one(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The loop that anyone would write, without hooks: a backward pass for each, its squares added in place."""
    parameters = dict(net.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
        found = torch.autograd.grad(loss(net(image), label), list(parameters.values()))
        for each, gradient in zip(total.values(), found, strict=True):
            each.addcmul_(gradient, gradient)
    return total


def difference(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The largest of any entry, relative to its tensor's largest.

    Raises:
        AssertionError: it is more than rounding.
    """
    exact, pixels = copy.deepcopy(net).double(), images.double()
    fast, slow = at_once(exact, pixels, labels), one_by_one(exact, pixels, labels)
    worst = max(float((fast[name] - each).abs().max() / each.abs().max()) for name, each in slow.items())
    if worst > SAME:
        raise AssertionError(f"they differ by {worst:.1e}")
    return worst


if __name__ == "__main__":
    run(__file__, rows())
