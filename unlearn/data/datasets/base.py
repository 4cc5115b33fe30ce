"""The interface of a data set: shape, normalisation, augmentation, names of records, and images."""

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
    """The images of a data set: the whole training part, whatever the `limit`, and the test part."""

    train: ImageSource
    test: ImageSource
    subclass: Tensor | None = None  # int64 [n] of the training part, if labels are coarse
    validation: ImageSource | None = None  # the data set's own validation split, if it has one

    def first(self, n: int) -> Contents:
        """Keep only the first `n` records of the training part."""
        if n >= len(self.train):
            return self
        subclass = None if self.subclass is None else self.subclass[:n].clone()
        return replace(self, train=self.train.take(torch.arange(n)), subclass=subclass)


@dataclass(frozen=True)
class Dataset(ABC):
    """Labelled images in a training and a test part; an index counts within one part."""

    limit: int | None = None  # number of images of the training part that are used; null: all
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
        """Number of classes."""

    @property
    @abstractmethod
    def train_size(self) -> int:
        """Number of images in the whole training part."""

    @property
    @abstractmethod
    def test_size(self) -> int:
        """Number of images in the test part."""

    @property
    def validation_size(self) -> int | None:
        """Number of images in the data set's own validation split; None: validation is drawn from the training part."""
        return None

    @property
    def index_ambiguity(self) -> str | None:
        """The reason why an index is ambiguous; None if it identifies a record."""
        return None

    @property
    def class_ambiguity(self) -> str | None:
        """The reason why the number of a class is ambiguous; None if it identifies a class."""
        return None

    def remarks(self) -> Iterator[str]:
        """Remarks on the files of the data set, without names of records."""
        yield from ()

    def digests(self, part: str) -> Sequence[bytes]:
        """SHA-256 of the content of each file of a part, by record; empty if the records are not files."""
        del part
        return ()

    @property
    @abstractmethod
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation per channel, of pixels in [0, 1]; every classifier starts with this layer."""

    @property
    def public(self) -> bool:
        """Whether its images may leave the machine, in reports and dashboards."""
        return True

    @property
    def subclasses(self) -> tuple[str, ...]:
        """Names of the finer classes if labels are coarse; empty otherwise."""
        return ()

    @property
    def pin(self) -> str | None:
        """The name that stands for its content in keys; the store pins it. None if keys hold a hash of the content."""
        return type(self).__name__.lower()

    @property
    def size(self) -> int:
        """Number of images of the training part that are used, n."""
        return self.train_size if self.limit is None else self.limit

    @property
    def records(self) -> Tensor:
        """Indices int64 [n] of the images of the training part that are used, sorted."""
        return torch.arange(self.size)

    @property
    def held_out_sizes(self) -> tuple[int, int]:
        """Number of images of the training part in validation (0 if it has its own files) and in holdout."""
        validation, holdout = self.split_sizes(self.size)
        return (validation if self.validation_size is None else 0), holdout

    def split_sizes(self, n: int) -> tuple[int, int]:
        """Number of images, of `n`, in validation and in holdout; at least one each."""
        return max(1, round(n * self.validation)), max(1, round(n * self.holdout))

    def problems(self, key: str) -> Iterator[Problem | str]:
        """Find problems that involve several fields."""
        if self.validation + self.holdout > 0.9:
            yield Problem(f"{key}.holdout", "validation + holdout of at most 0.9", self.holdout)
        if self.flip_alternates and not self.flip:
            yield Problem(f"{key}.flip_alternates", f"false, or {key}.flip=true", True)

    def check(self) -> Iterator[Problem | str]:
        """Find problems without reading an image."""
        if self.limit is not None and not 2 * self.classes <= self.limit <= self.train_size:
            yield Problem("dataset.limit", f"an integer from {2 * self.classes} to {self.train_size}", self.limit)
        side = min(self.shape[1:])
        if self.crop_padding >= side:
            expected = f"at most {side - 1} pixels, for images of {side} pixels"
            yield Problem("dataset.crop_padding", expected, self.crop_padding)

    def find(self, name: str) -> int | None:
        """The index in the training part of the record with a name; None if there is none."""
        del name
        return None

    def names(self, part: str) -> Sequence[str]:
        """Paths of the files of a part, `train`, `test` or `val`, by record; empty if the records have no names."""
        del part
        return ()

    def record_name(self, part: str, index: int) -> str:
        """The path of the file of a record, or its number in the part."""
        names = self.names(part)
        return f"{self.folder(part)}/{as_one_line(names[index])}" if names else f"record {index} of the {part} part"

    def folder(self, part: str) -> str:
        """The folder that contains the `names` of a part."""
        return part

    def find_part(self, path: str) -> str:
        """The part with a folder that contains a path; empty if there is none."""
        del path
        return ""

    def prefixes(self, part: str) -> Sequence[str]:
        """Prefixes that a request may put before a path of `names`, including the empty one."""
        del part
        return ("",)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers; empty if they have none."""
        return ()

    def source(self) -> Dataset:
        """The same data set with defaults for all settings that do not change its images.

        A process holds the images of equal sources in memory once.
        """
        plain = {"limit": None, "validation": 0.05, "holdout": 0.1, "label_noise": 0.0, "crop_padding": 0}
        return replace(self, **plain, crop_fill="zeros", flip=False, flip_alternates=False)  # type: ignore[arg-type]

    @abstractmethod
    def load(self) -> Contents:
        """Read the images.

        Raises:
            DataError: the files are missing or unreadable.
        """


def hold_in_memory(part: Part) -> Images:
    """Wrap the tensors of a part as an `ImageSource`."""
    images, labels = part
    return Images(images.contiguous(), labels, torch.arange(len(labels)))
