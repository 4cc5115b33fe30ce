"""The words that every part shares: roles, subsets, predictions, measurements, metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Curve = list[dict[str, float]]  # one row an epoch


class Role(StrEnum):
    """Which model. `guide` trains SPD-GAN and is never reported."""

    ORIGINAL = "original"
    RETRAINED = "retrained"
    UNLEARNED = "unlearned"
    GUIDE = "guide"


class Subset(StrEnum):
    """Which data. Under SPD-GAN's marker `forget` is the marked D_f' and `holdout` is marked alike."""

    TRAIN = "train"  # D: forget and retain together
    FORGET = "forget"
    RETAIN = "retain"
    VALIDATION = "validation"
    HOLDOUT = "holdout"  # non-members; read by attacks alone, and by SPD-GAN's control
    TEST = "test"
    CLEAN_FORGET = "clean_forget"  # D_f before it was marked
    NOISY_FORGET = "noisy_forget"  # D_f under random noise as large as the mark


@dataclass(frozen=True)
class Images:
    """Images uint8 [n, c, h, w], labels int64 [n], and where each stands in its data set, int64 [n]."""

    images: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)

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
            raise ValueError(f"a measurement must be finite, came {self.value}")


@dataclass(frozen=True)
class Evidence:
    """What a metric may look at: predictions by subset, of the subject and of the references it asked for."""

    subject: Mapping[Subset, Predictions]
    original: Mapping[Subset, Predictions] = field(default_factory=dict)
    retrained: Mapping[Subset, Predictions] = field(default_factory=dict)
    seed: int = 0  # for attacks that draw at random


@dataclass(frozen=True)
class Metric(ABC):
    """A number about one model, the subject, possibly held against reference models.

    Metrics and attacks are frozen dataclasses: their fields are their config. Adding one is a `.py` beside the
    others and a `.yaml` under `conf/metrics` or `conf/attacks`. They read predictions, never models.
    """

    subsets: ClassVar[tuple[Subset, ...]]  # read of the subject and of every reference
    references: ClassVar[tuple[Role, ...]] = ()  # of original and retrained
    needs_spd_gan: ClassVar[bool] = False

    @abstractmethod
    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        """Values by name, without the role."""
