"""Generator and discriminator of SPD-GAN; their design is ours, chosen by experiment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """x' = clip(x + epsilon * delta(x), 0, 1), exactly the identity before training.

    A small U-net with leaky ReLU 0.2, for images of at least 4 x 4. Instance normalisation and the removal of delta's
    spatial mean matter most: without them tanh saturates and only shifts the brightness.
    """

    def __init__(self, channels: int, epsilon: float, width: int = 16) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.enter = _conv(channels, width)
        self.down1 = _conv(width, 2 * width, stride=2)
        self.down2 = _conv(2 * width, 2 * width, stride=2)
        self.residual1 = _conv(2 * width, 2 * width)
        self.residual2 = _conv(2 * width, 2 * width)
        self.up1 = _conv(2 * width, 2 * width)
        self.up2 = _conv(2 * width, width)
        self.leave = _conv(width, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(_bias(self.leave))

    def delta(self, x: Tensor) -> Tensor:
        """Return the shift of images [n, c, h, w], in [-1, 1], before it is scaled by epsilon."""
        a = _act(self.enter(x))
        b = _act(self.down1(a))
        d = _instance_norm(_act(self.down2(b)))
        d = d + self.residual2(_act(self.residual1(d)))
        u = _act(self.up1(F.interpolate(d, size=b.shape[-2:]))) + b
        u = _act(self.up2(F.interpolate(u, size=a.shape[-2:]))) + a
        q: Tensor = self.leave(_instance_norm(u))
        return torch.tanh(q - q.mean((2, 3), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the perturbed images in [0, 1]; the gradient passes straight through the clip."""
        moved = x + self.epsilon * self.delta(x)
        return moved + (moved.clamp(0, 1) - moved).detach()


class Discriminator(nn.Module):
    """Separates perturbed from clean images: one unbounded score per image (least-squares GAN)."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.down1 = _conv(channels, width, stride=2)
        self.down2 = _conv(width, 2 * width, stride=2)
        self.head = nn.Linear(2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores [n] of images [n, c, h, w]; the targets are 1 for clean, 0 for perturbed."""
        pooled = _act(self.down2(_act(self.down1(x)))).mean((2, 3))
        score: Tensor = self.head(pooled)
        return score[:, 0]


def _conv(fan_in: int, fan_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(fan_in, fan_out, 3, stride, padding=1)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _instance_norm(x: Tensor) -> Tensor:
    """Normalise each channel of each image, without affine parameters; unlike torch's, it accepts 1 x 1 maps."""
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), correction=0, keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt()
