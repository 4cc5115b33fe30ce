"""What a data set must tell: its shape, its normalisation, its augmentation, and its images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from unlearn.checks import at_least, runtime, share
from unlearn.errors import Problem
from unlearn.types import Images


@dataclass(frozen=True)
class Dataset(ABC):
    """Labelled images in a training and a test part; indices always count in the full training part."""

    shape: ClassVar[tuple[int, int, int]]  # channels, height, width
    classes: ClassVar[int]
    mean: ClassVar[tuple[float, ...]]  # per channel, of pixels in [0, 1]
    std: ClassVar[tuple[float, ...]]
    train_size: ClassVar[int]
    public: ClassVar[bool] = True  # whether images may leave the machine

    root: str = runtime("data")  # folder of the files
    download: bool = runtime(False)  # fetch them when they are missing
    limit: int | None = None  # only the first images of the training part take part; null: all
    validation: float = share(0.05, zero=False)  # of the training part
    holdout: float = share(0.10, zero=False)  # of the training part
    crop_padding: int = at_least(0, 0)  # pixels; 0: no random crop while training
    flip: bool = False  # mirror left-right at random while training

    def problems(self, key: str) -> Iterator[Problem]:
        """Rules across fields."""
        if self.limit is not None and not 2 * self.classes <= self.limit <= self.train_size:
            expected = f"an integer from {2 * self.classes} to {self.train_size}"
            yield Problem(f"{key}.limit", expected, self.limit)
        if self.validation + self.holdout > 0.9:
            yield Problem(f"{key}.holdout", "validation + holdout of at most 0.9", self.holdout)

    @property
    def size(self) -> int:
        """Images of the training part that take part, n."""
        return self.train_size if self.limit is None else self.limit

    @property
    def aside(self) -> tuple[int, int]:
        """Images in validation and in holdout; at least one each."""
        return max(1, round(self.size * self.validation)), max(1, round(self.size * self.holdout))

    def load(self) -> tuple[Images, Images]:
        """The whole training part, whatever the `limit`, and the test part.

        Raises:
            DataError: the files are missing or unreadable.
        """
        train, test = self.read()
        return _images(*train), _images(*test)

    @abstractmethod
    def read(self) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """(images uint8 [n, c, h, w], labels int64 [n]) of the full training part and of the test part."""


def _images(images: torch.Tensor, labels: torch.Tensor) -> Images:
    return Images(images.contiguous(), labels, torch.arange(len(labels)))
