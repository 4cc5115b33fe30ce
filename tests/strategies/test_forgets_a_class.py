"""Strategies that claim to forget a class do, with their defaults, and keep the others; doing nothing does not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearn
from unlearn.data.datasets.digits import Digits

LOST = 3


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    train = Digits().load().train
    return train.images[:700].float() / 255, train.labels[:700]


@pytest.fixture(scope="module")
def trained(data: tuple[Tensor, Tensor]) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    images, labels = data
    for _ in range(20):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
    return net.eval()


def accuracies(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Of the lost class, and of all others."""
    images, labels = data
    is_correct = (net(images).argmax(1) == labels).double()
    return is_correct[labels == LOST].mean().item(), is_correct[labels != LOST].mean().item()


def forget(net: nn.Module, data: tuple[Tensor, Tensor], strategy: str, **settings: Any) -> nn.Module:
    images, labels = data
    lost = labels == LOST
    validation = (images[:200], labels[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes
        return unlearn.forget(
            net, (images[lost], labels[lost]), (images[~lost], labels[~lost]), strategy, validation, **settings
        )


def test_doing_nothing_forgets_nothing(trained: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    lost, others = accuracies(forget(trained, data, "identity"), data)
    assert lost > 0.95
    assert others > 0.95


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("delete", {}),
        ("mu_mis", {}),
        ("sfron", {}),
        ("surgery", {"combine": "rectify"}),
        ("surgery", {"combine": "nash", "forget_loss": "entropy"}),
        ("surgery", {"combine": "nash", "forget_loss": "random_label"}),
        ("scissorhands", {}),
        ("ct", {}),
    ],
)
def test_they_forget_a_class_and_keep_the_others(
    trained: nn.Module, data: tuple[Tensor, Tensor], strategy: str, settings: dict[str, Any]
) -> None:
    lost, others = accuracies(forget(trained, data, strategy, **settings), data)
    assert lost < 0.3
    assert others > 0.85
