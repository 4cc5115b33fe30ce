"""The convolutional net of the CIFAR-10 speed runs: a fixed whitening layer, then a few wide groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.validation import at_least, positive
from unlearn.models.base import Model, Scale

SIDE = 2  # of the stem's patches, in pixels
MOMENTUM = 0.4  # of batch normalisation: the weight of the current batch in the running statistics
CHUNK = 250  # images whose patches are held at once


@dataclass(frozen=True)
class WhitenedCnn(Model):
    """A net that learns CIFAR-10 in minutes on one core, as in the speed runs (arXiv 2404.00498).

    Layers: a fixed 2 x 2 convolution with 8 * channels filters that whiten patches of the training images; for each
    width a group of conv 3 x 3, max-pool 2, batch norm, GELU, conv 3 x 3, batch norm, GELU; a max-pool over all
    positions, and a linear layer without bias. Batch norm has a trained shift and no trained scale. Convolutions start
    as the identity on as many channels as possible. The published widths are 64, 256 and 256 (94 %).

    [ours] The factor of the logits is applied before the linear layer, so that this layer returns the logits. Pools
    that would leave no position are omitted, so images of any size from 2 x 2 pass. The bias of the stem is trained
    throughout, not for three epochs.
    """

    widths: list[int] = field(default_factory=lambda: [32, 128, 128])  # channels of each group
    logit_scale: float = positive(1 / 9)  # factor of the logits
    whitening_eps: float = at_least(0, 5e-4)  # added to the variance of each whitening direction

    def problems(self, key: str) -> Iterator[Problem]:
        """Report widths without a group, or a group without a channel."""
        if not self.widths or min(self.widths) < 1:
            yield Problem(f"{key}.widths", "a list of integers >= 1, one for each group", self.widths)

    def check(self, shape: tuple[int, int, int], classes: int, features: bool) -> Iterator[Problem | str]:
        """Report images that are smaller than one patch of the stem."""
        if min(shape[1:]) < SIDE:
            expected = f"another architecture for images of {shape[1]} x {shape[2]}: this one needs {SIDE} x {SIDE}"
            yield Problem("model", expected, "whitened_cnn")

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        stem = Whitening(channels)
        layers: list[nn.Module] = [stem, nn.GELU()]
        sides = (height - SIDE + 1, width - SIDE + 1)
        for inputs, outputs in pairwise([stem.out_channels, *self.widths]):
            has_pool = min(sides) >= 2
            layers += _group(inputs, outputs, has_pool)
            sides = (sides[0] // 2, sides[1] // 2) if has_pool else sides
        head = nn.Linear(self.widths[-1], classes, bias=False)
        return nn.Sequential(*layers, nn.MaxPool2d(sides), nn.Flatten(), Scale(self.logit_scale), head)

    def initialise_from_data(self, net: nn.Module, batches: Iterable[Tensor]) -> None:
        """Replace the stem's basis by the whitening directions of the images' patches."""
        _stem(net).fit(batches, self.whitening_eps)

    def copy_data_dependent(self, net: nn.Module, source: nn.Module) -> None:
        """Replace the stem's basis by that of `source`."""
        _stem(net).weight.copy_(_stem(source).weight)


class Whitening(nn.Conv2d):
    """A 2 x 2 convolution of `channels` with a fixed basis and its negative as filters, and a trained bias.

    The basis is a buffer, so no optimizer and no strategy changes it. Before `fit` it is the orthonormal cosine basis
    of the patches, which does not depend on data.
    """

    weight: Tensor  # float32 [8 * channels, channels, 2, 2]

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels * SIDE**2, SIDE)
        del self.weight
        basis = torch.kron(_cosines(channels), torch.kron(_cosines(SIDE), _cosines(SIDE)))
        self.register_buffer("weight", self._signed(basis))
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]  # it has one

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor], eps: float) -> None:
        """Set the basis to the whitening directions of all 2 x 2 patches.

        These are the eigenvectors of the patches' covariance, each divided by the root of its variance plus `eps`,
        sorted by falling variance. The largest entry of each is positive (our choice).

        Args:
            batches: images float32 [b, c, h, w].
            eps: added to each variance.
        """
        covariance = _patch_covariance(batches)
        variances, directions = torch.linalg.eigh(covariance)  # ascending; a direction is a column
        basis = directions.t().flip(0) / (variances.flip(0).clamp(min=0) + eps).sqrt()[:, None]
        largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
        self.weight.copy_(self._signed(basis * largest.sign()))

    def _signed(self, basis: Tensor) -> Tensor:
        """The filters of a basis [4 c, 4 c] with its vectors as rows."""
        return torch.cat([basis, -basis]).float().view(self.out_channels, self.in_channels, SIDE, SIDE)


class ShiftedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with a trained shift and a fixed scale of 1, which is not a parameter."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=MOMENTUM)
        del self.weight
        # torch cannot differentiate forwards through batch norm that has a shift and None for a scale
        self.register_buffer("weight", torch.ones(channels), persistent=False)

    def reset_parameters(self) -> None:
        """Reset the running statistics, and the shift to 0."""
        self.reset_running_stats()
        nn.init.zeros_(self.bias)


def _group(inputs: int, outputs: int, has_pool: bool) -> list[nn.Module]:
    first, second = _identity_conv(inputs, outputs), _identity_conv(outputs, outputs)
    pool = [nn.MaxPool2d(2)] if has_pool else []
    return [first, *pool, ShiftedBatchNorm2d(outputs), nn.GELU(), second, ShiftedBatchNorm2d(outputs), nn.GELU()]


@torch.no_grad()
def _identity_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3 x 3 convolution that starts as the identity on the first channels, and as PyTorch's default on the others."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    shared = min(inputs, outputs)
    conv.weight[:shared] = 0
    conv.weight[:shared, :shared, 1, 1] = torch.eye(shared)
    return conv


def _cosines(n: int) -> Tensor:
    """The orthonormal cosine basis (DCT-II) of R^n with its vectors as rows, float64 [n, n]."""
    frequency, position = torch.arange(n).double()[:, None], torch.arange(n).double() + 0.5
    rows = torch.cos(math.pi / n * frequency * position) * math.sqrt(2 / n)
    return torch.cat([rows[:1] / math.sqrt(2), rows[1:]])


def _patch_covariance(batches: Iterable[Tensor]) -> Tensor:
    """Covariance float64 [4 c, 4 c] of all 2 x 2 patches, on the CPU."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        for images in torch.split(batch.cpu().double(), CHUNK):
            patches = F.unfold(images, SIDE).transpose(0, 1).flatten(1)  # [4 c, patches]
            count, total, products = count + patches.shape[1], total + patches.sum(1), products + patches @ patches.t()
    mean = total / count
    return products / count - torch.outer(mean, mean)


def _stem(net: nn.Module) -> Whitening:
    return next(layer for layer in net.modules() if isinstance(layer, Whitening))
