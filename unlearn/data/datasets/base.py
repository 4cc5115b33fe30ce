"""What a data set must tell: its shape, its normalisation, its augmentation, and its images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.core.errors import Problem, as_one_line
from unlearn.core.types import Images, ImageSource
from unlearn.core.validation import added, at_least, fraction, one_of

Part = tuple[Tensor, Tensor]  # images uint8 [n, c, h, w], labels int64 [n]


@dataclass(frozen=True)
class Contents:
    """A data set once it is read: its training part, whatever the `limit`, and its test part."""

    train: ImageSource
    test: ImageSource
    subclass: Tensor | None = None  # int64 [n] of the training part, where labels are coarse
    validation: ImageSource | None = None  # a split of its own, where there is one

    def first(self, n: int) -> Contents:
        """Without what lies behind the first `n` of the training part."""
        if n >= len(self.train):
            return self
        subclass = None if self.subclass is None else self.subclass[:n].clone()
        return replace(self, train=self.train.take(torch.arange(n)), subclass=subclass)


@dataclass(frozen=True)
class Dataset(ABC):
    """Labelled images in a training and a test part; indices count in the part they belong to."""

    limit: int | None = None  # only the first images of the training part take part; null: all
    validation: float = fraction(0.05, zero=False)  # of the training part
    holdout: float = fraction(0.10, zero=False)  # of the training part
    label_noise: float = fraction(0.0)  # of the training part gets a wrong label, uniformly drawn among the others
    crop_padding: int = at_least(0, 0)  # pixels; 0: no random crop while training
    flip: bool = False  # mirror left-right at random while training
    crop_fill: str = added(one_of("zeros", "reflect"))  # what a crop shows beyond the image's border
    flip_alternates: bool = added(False)  # mirror each image in every second epoch instead of at random

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of every image."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def train_size(self) -> int:
        """Images of the whole training part."""

    @property
    @abstractmethod
    def test_size(self) -> int:
        """Images of the test part."""

    @property
    def validation_size(self) -> int | None:
        """Images of a validation split of its own; None if validation is drawn from the training part."""
        return None

    @property
    def index_ambiguity(self) -> str | None:
        """Why an index does not say which record is meant; None if it does."""
        return None

    @property
    def class_ambiguity(self) -> str | None:
        """Why a number does not say which class is meant; None if it does."""
        return None

    def remarks(self) -> Iterator[str]:
        """What is to be known about the files behind it, without names of records."""
        yield from ()

    def digests(self, part: str) -> Sequence[bytes]:
        """SHA-256 of the content of each file of a part, by record; empty if its records are no files."""
        del part
        return ()

    @property
    @abstractmethod
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation per channel, of pixels in [0, 1]: the first layer of every classifier."""

    @property
    def public(self) -> bool:
        """Whether its images may leave the machine, in reports and dashboards."""
        return True

    @property
    def subclasses(self) -> tuple[str, ...]:
        """Names of the finer classes where labels are coarse; none otherwise."""
        return ()

    @property
    def pin(self) -> str | None:
        """The name that stands for its content in keys and is pinned in the store; None if a key tells the content."""
        return type(self).__name__.lower()

    @property
    def size(self) -> int:
        """Images of the training part that take part, n."""
        return self.train_size if self.limit is None else self.limit

    @property
    def records(self) -> Tensor:
        """Indices int64 [n] in the training part of those that take part, sorted."""
        return torch.arange(self.size)

    @property
    def aside(self) -> tuple[int, int]:
        """Images of the training part in validation and in holdout; none in a validation that has its own files."""
        validation, holdout = self.split_sizes(self.size)
        return (validation if self.validation_size is None else 0), holdout

    def split_sizes(self, n: int) -> tuple[int, int]:
        """How many of `n` images go to validation and to holdout; at least one each."""
        return max(1, round(n * self.validation)), max(1, round(n * self.holdout))

    def problems(self, key: str) -> Iterator[Problem | str]:
        """Rules across fields."""
        if self.validation + self.holdout > 0.9:
            yield Problem(f"{key}.holdout", "validation + holdout of at most 0.9", self.holdout)
        if self.flip_alternates and not self.flip:
            yield Problem(f"{key}.flip_alternates", f"false, or {key}.flip=true", True)

    def check(self) -> Iterator[Problem | str]:
        """Problems that only a look at the data set's outside can find; no image is read."""
        if self.limit is not None and not 2 * self.classes <= self.limit <= self.train_size:
            yield Problem("dataset.limit", f"an integer from {2 * self.classes} to {self.train_size}", self.limit)
        side = min(self.shape[1:])
        if self.crop_padding >= side:
            expected = f"at most {side - 1} pixels, for images of {side} pixels"
            yield Problem("dataset.crop_padding", expected, self.crop_padding)

    def find(self, name: str) -> int | None:
        """The index in the training part of a record that a request names; None if it is not there."""
        del name
        return None

    def names(self, part: str) -> Sequence[str]:
        """Paths of the files of a part, `train`, `test` or `val`, by record; empty if its records have no names."""
        del part
        return ()

    def record_name(self, part: str, index: int) -> str:
        """What to call a record of a part: the path of its file, or its number."""
        names = self.names(part)
        return f"{self.folder(part)}/{as_one_line(names[index])}" if names else f"record {index} of the {part} part"

    def folder(self, part: str) -> str:
        """The folder that the `names` of a part lie in."""
        return part

    def find_part(self, path: str) -> str:
        """The part in one of whose folders a path lies; empty if there is none."""
        del path
        return ""

    def prefixes(self, part: str) -> Sequence[str]:
        """What may stand before a path that `names` gives, nothing included."""
        del part
        return ("",)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers; empty if they have none."""
        return ()

    def source(self) -> Dataset:
        """The same data set without what does not change its images: what a process holds in memory once."""
        plain = {"limit": None, "validation": 0.05, "holdout": 0.1, "label_noise": 0.0, "crop_padding": 0}
        return replace(self, **plain, crop_fill="zeros", flip=False, flip_alternates=False)  # type: ignore[arg-type]

    @abstractmethod
    def load(self) -> Contents:
        """Read it.

        Raises:
            DataError: the files are missing or unreadable.
        """


def resident(part: Part) -> Images:
    """A part held in memory."""
    images, labels = part
    return Images(images.contiguous(), labels, torch.arange(len(labels)))
