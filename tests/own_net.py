"""What a user of `model=python` writes; also found by tests as `own_net:build`."""

from __future__ import annotations

import math

from torch import Tensor, nn


def build(shape: tuple[int, int, int], classes: int, width: int = 8) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.Tanh(), nn.Linear(width, classes))


def other(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """None."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


class Viewing(nn.Module):
    """Flattens by `view`, which takes images in the usual layout alone."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(shape[0], 4, 3, padding=1)
        self.head = nn.Linear(4 * math.prod(shape[1:]), classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(images)
        logits: Tensor = self.head(maps.view(len(maps), -1))
        return logits


def headless(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """No layer has an output per class: there are no penultimate features."""
    return nn.Sequential(nn.Conv2d(shape[0], 3, 3), nn.Flatten(), nn.AdaptiveAvgPool1d(classes))
