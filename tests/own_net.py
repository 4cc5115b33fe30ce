"""What a user of `model=python` writes; also found by tests as `own_net:build`."""

from __future__ import annotations

import math

from torch import nn


def build(shape: tuple[int, int, int], classes: int, width: int = 8) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.Tanh(), nn.Linear(width, classes))


def other(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """None."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def headless(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """No layer has an output per class: there are no penultimate features."""
    return nn.Sequential(nn.Conv2d(shape[0], 3, 3), nn.Flatten(), nn.AdaptiveAvgPool1d(classes))
