"""Types that all packages share: roles, subsets, images, predictions, measurements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Curve = list[dict[str, float]]  # one row per epoch


class Role(StrEnum):
    """The role of a model in a run.

    Reports never contain a guide, a proxy, a shadow model or the net of a shard.
    """

    ORIGINAL = "original"
    RETRAINED = "retrained"
    UNLEARNED = "unlearned"
    UNTRAINED = "untrained"  # random weights: the baseline of a model that has learned nothing
    FRESH = "fresh"  # trained on D like the original, but not used to train SPD-GAN: a control of the probe
    GUIDE = "guide"  # the classifier that SPD-GAN is trained against
    PROXY = "proxy"  # ranks records by their loss
    SHARD = "shard"  # one of the nets of an ensemble that SISA trains
    SHADOW = "shadow"  # trained on half of D and holdout; only attacks use it, to compare members with non-members


class Subset(StrEnum):
    """A part of the data. With SPD-GAN's marker, `forget` is the marked forget set D_f'; `holdout` is marked too."""

    TRAIN = "train"  # D: forget and retain together
    FORGET = "forget"
    RETAIN = "retain"
    CORRECTED = "corrected"  # D with the right labels, where a request corrects them
    RELABELLED = "relabelled"  # the forget set with the right labels
    VALIDATION = "validation"
    HOLDOUT = "holdout"  # non-members; used only by attacks, their shadow models and SPD-GAN's control
    TEST = "test"
    EARLIER_FORGET = "earlier_forget"  # records that earlier requests removed, in no other subset
    CLEAN_FORGET = "clean_forget"  # D_f without the changes by SPD-GAN
    PERTURBED_FORGET = "perturbed_forget"  # D_f changed by SPD-GAN, as marker and as probe
    PERTURBED_HOLDOUT = "perturbed_holdout"  # holdout changed by the same generator
    NOISY_FORGET = "noisy_forget"  # D_f with random noise as large as SPD-GAN's change
    ADVERSARIAL = "adversarial"  # for each forget sample a near image that the original gets wrong, with that class
    PROBES = "probes"  # no data: images synthesised so that the original model is certain of their class


class ImageSource(Protocol):
    """Labelled images, in memory (`Images`) or on disk (`data.stream.Stream`)."""

    @property
    def labels(self) -> Tensor:
        """The labels, int64 [n]."""

    @property
    def index(self) -> Tensor:
        """The index of each image in its part of the data set, int64 [n]."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""

    def __len__(self) -> int: ...

    def batches(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images [b, c, h, w] of each chunk of positions int64 [b], on the device of the labels.

        They are uint8, or float32 where a user passed floats; `as_float` converts both.
        """

    def take(self, positions: Tensor) -> Self:
        """The images at `positions` int64 [m], in that order."""

    def relabelled(self, labels: Tensor) -> Self:
        """The same images with other labels int64 [n]."""

    def replaced(self, index: Tensor, images: Tensor) -> Self:
        """Replace the images at data set indices int64 [m] by others uint8 [m, c, h, w]; all indices must be sorted."""

    def to(self, device: str | torch.device) -> Self:
        """The same images, with batches on another device."""


@dataclass(frozen=True)
class Images:
    """An `ImageSource` in memory: images uint8 or float32 [n, c, h, w], labels and data set indices int64 [n]."""

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
        """Yield the images [b, c, h, w] of each chunk of positions."""
        for positions in chunks:
            yield self.images.index_select(0, positions.to(self.images.device))

    def take(self, positions: Tensor) -> Images:
        """The images at `positions`."""
        return Images(self.images[positions], self.labels[positions], self.index[positions])

    def relabelled(self, labels: Tensor) -> Images:
        """The same images with other labels."""
        return replace(self, labels=labels)

    def replaced(self, index: Tensor, images: Tensor) -> Images:
        """Replace the images at some data set indices; both indices must be sorted."""
        import torch

        changed = self.images.clone()
        changed[torch.searchsorted(self.index, index)] = images
        return replace(self, images=changed)

    def to(self, device: str | torch.device) -> Images:
        """The same images on another device."""
        return Images(self.images.to(device), self.labels.to(device), self.index.to(device))


def as_float(images: Tensor) -> Tensor:
    """Convert images to what a model gets: uint8 to float32 in [0, 1]; float32 images stay as they are."""
    return images if images.is_floating_point() else images.float().div_(255)


@dataclass(frozen=True)
class Predictions:
    """Result of one forward pass: logits float32 [n, C], labels int64 [n], data set indices int64 [n]."""

    logits: Tensor
    labels: Tensor
    index: Tensor


@dataclass(frozen=True)
class Measurement:
    """A number with its uncertainty.

    `value` is None where the quantity is undefined in principle; `reason` then explains why. `n` is the number of
    samples; `standard_error` and the 95 % `interval` describe the variation over these samples, not over seeds.
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
