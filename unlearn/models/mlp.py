"""A multi-layer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from unlearn.core.validation import at_least, fraction
from unlearn.models.base import Model


@dataclass(frozen=True)
class Mlp(Model):
    """`depth` hidden layers of `hidden` units with ReLU."""

    hidden: int = at_least(1, 256)  # units of a hidden layer
    depth: int = at_least(1, 2)  # number of hidden layers
    dropout: float = fraction(0.0)  # probability that a hidden unit is dropped

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        widths = [math.prod(shape), *[self.hidden] * self.depth]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers, nn.Linear(self.hidden, classes))
