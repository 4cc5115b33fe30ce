"""A small convolutional net for grey or colour images from 4 x 4 pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unlearn.core.validation import at_least, fraction
from unlearn.models.base import Model


@dataclass(frozen=True)
class Cnn(Model):
    """Two 3 x 3 convolutions, pooling to about 4 x 4, one hidden layer (our choice); no batch normalisation."""

    width: int = at_least(1, 16)  # channels of the first convolution; the second has twice as many
    hidden: int = at_least(1, 64)  # units of the hidden layer
    dropout: float = fraction(0.0)  # probability that a hidden unit is dropped

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        first = 2 if min(height, width) >= 16 else 1
        second = max(1, min(height, width) // first // 4)  # leaves about 4 x 4; adaptive pooling is not deterministic
        positions = (height // first // second) * (width // first // second)
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(first) if first > 1 else nn.Identity(),  # pooling by 1 only costs time
            nn.Conv2d(self.width, 2 * self.width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(second),
            nn.Flatten(),
            nn.Linear(2 * self.width * positions, self.hidden),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, classes),
        )
