"""The words that every part shares: roles, subsets, images, predictions, measurements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Curve = list[dict[str, float]]  # one row an epoch


class Role(StrEnum):
    """Which model. `guide` trains SPD-GAN, `proxy` ranks records by their loss, and `shadow` shows attacks what a model
    says of what it learnt and of what it did not: none of them is ever reported."""

    ORIGINAL = "original"
    RETRAINED = "retrained"
    UNLEARNED = "unlearned"
    UNTRAINED = "untrained"  # random weights: what a model that knows nothing says
    FRESH = "fresh"  # trained on D like the original, but never in SPD-GAN's loop: a control of the probe
    GUIDE = "guide"
    PROXY = "proxy"
    SHADOW = "shadow"  # trained on half of D and holdout, read by attacks alone


class Subset(StrEnum):
    """Which data. Under SPD-GAN's marker `forget` is the marked D_f' itself, and `holdout` is marked alike."""

    TRAIN = "train"  # D: forget and retain together
    FORGET = "forget"
    RETAIN = "retain"
    CORRECTED = "corrected"  # D under the right labels, where a request corrects them
    RELABELLED = "relabelled"  # the forget set under its right labels
    VALIDATION = "validation"
    HOLDOUT = "holdout"  # non-members; read by attacks alone (their shadow models too), and by SPD-GAN's control
    TEST = "test"
    CLEAN_FORGET = "clean_forget"  # D_f as it came
    PERTURBED_FORGET = "perturbed_forget"  # D_f moved by SPD-GAN, under marker and probe alike
    PERTURBED_HOLDOUT = "perturbed_holdout"  # holdout moved by the same generator
    NOISY_FORGET = "noisy_forget"  # D_f under random noise as large as SPD-GAN's shift
    PROBES = "probes"  # no data: images made of the original, so that it is sure of their class


class ImageSource(Protocol):
    """Labelled images, wherever they lie: in memory (`Images`), or on disk (`data.stream.Stream`)."""

    @property
    def labels(self) -> Tensor:
        """int64 [n]"""

    @property
    def index(self) -> Tensor:
        """Where each stands in its part of the data set, int64 [n]."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""

    def __len__(self) -> int: ...

    def batches(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """uint8 [b, c, h, w] for each chunk of positions int64 [b], on the device of the labels."""

    def take(self, positions: Tensor) -> Self:
        """Those at `positions` int64 [m], in that order."""

    def relabelled(self, labels: Tensor) -> Self:
        """The same images under other labels int64 [n]."""

    def replaced(self, index: Tensor, images: Tensor) -> Self:
        """With the images of some data set indices int64 [m] replaced by uint8 [m, c, h, w]; all indices sorted."""

    def to(self, device: str | torch.device) -> Self:
        """The same, giving its batches on another device."""


@dataclass(frozen=True)
class Images:
    """An `ImageSource` in memory: images uint8 [n, c, h, w], labels and data set indices int64 [n]."""

    images: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def batches(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """uint8 [b, c, h, w] for each chunk of positions."""
        for positions in chunks:
            yield self.images.index_select(0, positions.to(self.images.device))

    def take(self, positions: Tensor) -> Images:
        """Those at `positions`."""
        return Images(self.images[positions], self.labels[positions], self.index[positions])

    def relabelled(self, labels: Tensor) -> Images:
        """The same images under other labels."""
        return replace(self, labels=labels)

    def replaced(self, index: Tensor, images: Tensor) -> Images:
        """With the images of some data set indices replaced; both indices sorted."""
        import torch

        changed = self.images.clone()
        changed[torch.searchsorted(self.index, index)] = images
        return replace(self, images=changed)

    def to(self, device: str | torch.device) -> Images:
        """The same on another device."""
        return Images(self.images.to(device), self.labels.to(device), self.index.to(device))


@dataclass(frozen=True)
class Predictions:
    """One forward pass: logits float32 [n, C], labels int64 [n], data set index int64 [n]."""

    logits: Tensor
    labels: Tensor
    index: Tensor


@dataclass(frozen=True)
class Measurement:
    """A number with its uncertainty.

    `value` is `None` where the quantity is undefined in principle, with the `reason`; `n` counts the samples
    behind it; `standard_error` and the 95 % `interval` speak of those samples, not of seeds.
    """

    value: float | None
    n: int
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("an undefined measurement needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a measurement must be finite, got {self.value}")
