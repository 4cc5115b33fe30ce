"""Batched per-sample gradients against one backward pass per sample, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from unlearn.functional import per_sample_gradients as per_sample
from unlearn.functional.per_sample_gradients import (
    _add_powers_batched,
    _add_powers_one_by_one,
    _is_batchable,
    sum_gradients,
    sum_powers,
)
from unlearn.models.resnet18 import Resnet18

N = 6


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


class Twice(nn.Module):
    """One layer that runs two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 3 * 8 * 8)
        self.head = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.layer(x.flatten(1))))
        return logits


class Direct(nn.Module):
    """A weight that is used without its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.layer.weight * 2) + self.layer(x.flatten(1))


class ByName(nn.Module):
    """A layer that gets its input by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(input=x.flatten(1))
        return logits


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(192, 192), nn.Linear(192, 192), nn.Linear(192, 4)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.other(self.one(x.flatten(1)).relu()))
        return logits


class Rows(nn.Module):
    """A linear layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.Linear(8, 5), nn.Linear(3 * 8 * 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rows(x).relu().flatten(1))
        return logits


class Around(nn.Module):
    """A layer after a function that is not a layer."""

    def __init__(self, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.layer, self.head = before, nn.Linear(3 * 8 * 8, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.before(x.flatten(1))).tanh())
        return logits


class Windows(nn.Module):
    """A layer that gets the rows of an image as samples."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.Linear(8, 5), nn.Linear(3 * 8 * 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rows(x.reshape(-1, 8)).relu().reshape(len(x), -1))
        return logits


class Mixed(nn.Module):
    """Samples that are mixed between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3 * 8 * 8, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer(x.flatten(1))
        logits: Tensor = self.head(hidden - 0.5 * hidden.mean(0))
        return logits


class Shared(nn.Module):
    """Two parameters that share one gradient tensor, and one without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.none = (nn.Parameter(torch.rand(4)) for _ in range(3))
        self.layer = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = Ungiven.apply(self.layer(x.flatten(1)) + (self.one + self.other), self.none)
        return logits


class Ungiven(torch.autograd.Function):
    """x + w, without a gradient for w."""

    @staticmethod
    def forward(_context: Any, *pair: Tensor) -> Tensor:
        return pair[0] + pair[1]

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def convolutions(**options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, **options),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, stride=2, dilation=1, padding=(1, 0), bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(8, 8, 2),
        nn.Flatten(),
        nn.BatchNorm1d(8),
        nn.Linear(8, 4),
    )


KNOWN: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.Tanh(), nn.Linear(7, 4, bias=False)),
    "rows": Rows,
    "convolutions": convolutions,
    "dilated": lambda: convolutions(dilation=2, padding=2, stride=1),
}
UNKNOWN: dict[str, Callable[[], nn.Module]] = {
    "a layer that runs twice": Twice,
    "a weight without its layer": Direct,
    "a weight of two layers": Tied,
    "an input by name": ByName,
    "parameters without a layer": Shared,
    "samples that mix": Mixed,
    "samples that mix unseen": lambda: Around(lambda x: x - x.mean(0)),
    "samples that add to the next": lambda: Around(lambda x: x.cumsum(0)),
    "samples that add to the last": lambda: Around(lambda x: x.flip(0).cumsum(0).flip(0)),
    "rows as samples": Windows,
    "images that are changed": lambda: Around(lambda x: x.mul_(2)),
    "groups": lambda: convolutions(groups=3),
    "padding by name": lambda: convolutions(padding="same"),
    "reflected": lambda: convolutions(padding=1, padding_mode="reflect"),
    "layer normalisation": lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(192), nn.Linear(192, 4)),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(3, 2, 2), nn.Flatten(), nn.Linear(162, 4)),
}


def build_net_and_samples(build: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, Tensor]:
    """A net in eval mode with non-trivial normalisation, images and labels."""
    torch.manual_seed(0)
    model = build().double()
    images = torch.rand(N, 3, 8, 8, dtype=torch.float64)
    model.train()(images)
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model.eval(), images, torch.randint(0, 4, (N,))


def sum_by(
    add_powers: Any, model: nn.Module, images: Tensor, labels: Tensor, power: per_sample.Power
) -> per_sample.NamedTensors:
    total: per_sample.NamedTensors = {}
    add_powers(model, images, labels, loss, power, total)
    return total


@pytest.fixture(autouse=True)
def batch_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch even the few samples of these tests."""
    monkeypatch.setattr(per_sample, "MIN_BATCHED", 1)


@pytest.mark.parametrize(("n", "checks"), [(1, 0), (15, 0), (16, 1)])
def test_few_samples_are_processed_one_by_one(n: int, checks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = list[Tensor]()
    monkeypatch.setattr(per_sample, "MIN_BATCHED", 16)
    monkeypatch.setattr(per_sample, "_is_batchable", lambda _, images: bool(checked.append(images)))
    sum_powers(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), [(torch.rand(n, 1, 2, 2), torch.zeros(n).long())], loss, torch.abs
    )
    assert len(checked) == checks


@pytest.mark.parametrize("power", [torch.square, torch.abs])
@pytest.mark.parametrize("room", [1, 1 << 20])
@pytest.mark.parametrize("net", KNOWN)
def test_batched_sums_equal_sums_one_by_one(
    net: str, room: int, power: per_sample.Power, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_sample, "_room", lambda _: room)
    model, images, labels = build_net_and_samples(KNOWN[net])
    assert _is_batchable(model, images)
    fast, slow = (
        sum_by(add_powers, model, images, labels, power) for add_powers in (_add_powers_batched, _add_powers_one_by_one)
    )
    assert fast.keys() == slow.keys() == dict(model.named_parameters()).keys()
    for name, expected in slow.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-12, atol=1e-12 * expected.max().item())


@pytest.mark.parametrize("build", [lambda: Resnet18().net((3, 8, 8), 4), lambda: resnet18(num_classes=4)])
def test_batched_sums_are_exact_for_residual_nets(build: Callable[[], nn.Module]) -> None:
    model, images, labels = build_net_and_samples(build)
    two = model, images[:2], labels[:2]
    assert _is_batchable(*two[:2])
    assert _is_batchable(copy.deepcopy(model).float(), images.float())  # scores are computed in float32
    fast, slow = (
        sum_by(add_powers, *two, torch.square) for add_powers in (_add_powers_batched, _add_powers_one_by_one)
    )
    for name, expected in slow.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-12, atol=1e-12 * expected.max().item())


@pytest.mark.parametrize("net", UNKNOWN)
def test_nets_that_cannot_be_batched_are_processed_one_by_one(net: str) -> None:
    model, images, labels = build_net_and_samples(UNKNOWN[net])
    assert not _is_batchable(model, images)
    expected = sum_by(
        _add_powers_one_by_one, model, images.clone(), labels, torch.square
    )  # the net may change them in place
    batches = zip(images.split(4), labels.split(4), strict=True)
    sums, n = sum_powers(model, batches, loss, torch.square)
    assert n == N
    torch.testing.assert_close(sums, expected)


@pytest.mark.parametrize("net", [*KNOWN, "parameters without a layer"])
def test_the_sum_of_gradients_equals_the_gradient_of_the_whole_batch(net: str) -> None:
    model, images, labels = build_net_and_samples((KNOWN | UNKNOWN)[net])
    sums, n = sum_gradients(model, zip(images.split(4), labels.split(4), strict=True), loss)
    assert n == N
    assert all(p.grad is None for p in model.parameters())
    loss(model(images), labels).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(sums, expected)


def test_frozen_layers_have_no_gradients() -> None:
    model, images, labels = build_net_and_samples(KNOWN["convolutions"])
    model.get_submodule("3").requires_grad_(False)
    sums, _ = sum_powers(model, [(images, labels)], loss, torch.square)
    assert sums.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert "3.weight" not in sums
