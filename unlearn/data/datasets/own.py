"""The base class of user-supplied data sets: images of any size, resized to one, in memory or streamed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from unlearn.core.errors import Problem
from unlearn.core.random_streams import stream
from unlearn.core.types import ImageSource
from unlearn.core.validation import at_least, checked, runtime
from unlearn.data.datasets.base import Contents, Dataset
from unlearn.data.stream import Stream

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # the normalisation of torchvision's published models
MIB = 2**20
MAX_PIXELS = 2**27  # of a resized image before it is cropped
MAX_SIDE = math.isqrt(MAX_PIXELS)
PIXEL_UNITS: dict[str, tuple[str, Callable[[float], bool]]] = {  # of pixels in [0, 1]; a mean for [0, 255] is refused
    "mean": ("a finite number in [0, 1]", lambda v: 0 <= v <= 1),
    "std": ("a finite number in (0, 1]", lambda v: 0 < v <= 1),
}


@dataclass(frozen=True)
class UserDataset(Dataset):
    """Images that are resized (the shorter side, antialiased) and cropped at the centre to `size_px` x `size_px`.

    A data set that fits into `memory_limit` is decoded once and kept in memory; a larger one is decoded batch by
    batch. Both give the same bytes.
    """

    # height and width of the images that the model gets
    size_px: int = checked(32, f"an integer from 4 to {MAX_SIDE:,}", lambda v: 4 <= v <= MAX_SIDE)
    channels: int = checked(3, "1 (grey) or 3 (colour)", lambda v: v in (1, 3))  # of these images
    mean: list[float] | None = None  # per channel, of pixels in [0, 1]; null: ImageNet's (of its mean if grey)
    std: list[float] | None = None  # per channel; null: ImageNet's
    memory_limit: int = runtime(at_least(0, 4096))  # MiB of decoded images; a larger data set is streamed
    workers: int = runtime(at_least(0, 2))  # processes that decode

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size_px, self.size_px

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        mean, std = IMAGENET if self.channels == 3 else ([sum(values) / 3] for values in IMAGENET)
        return self.mean or mean, self.std or std

    @property
    def public(self) -> bool:
        return False

    @property
    def records(self) -> Tensor:
        """With a limit a fixed random draw, because folders list their images class by class."""
        if self.limit is None:
            return super().records
        records = torch.randperm(self.train_size, generator=stream(0, "limit"))[: self.size]
        return records.sort().values

    def problems(self, key: str) -> Iterator[Problem | str]:
        yield from super().problems(key)
        for name, (expected, accepts) in PIXEL_UNITS.items():
            numbers = getattr(self, name)
            if numbers is not None and not (len(numbers) == self.channels and all(map(accepts, numbers))):
                yield Problem(f"{key}.{name}", f"{expected} for each of the {self.channels} channels", numbers)

    def load(self) -> Contents:
        train, test = self.parts()
        fits = self.fits(len(train) + len(test) + (self.validation_size or 0))
        parts: tuple[ImageSource, ImageSource] = (train.load(), test.load()) if fits else (train, test)
        return Contents(*parts, subclass=self.subclass_labels())

    def fits(self, images: int) -> bool:
        """Whether a number of decoded images fits into `memory_limit`."""
        return images * self.channels * self.size_px**2 <= self.memory_limit * MIB

    @abstractmethod
    def parts(self) -> tuple[Stream, Stream]:
        """The training and the test part."""

    def subclass_labels(self) -> Tensor | None:
        """Subclasses int64 [n] of the training part; None if there are none."""
        return None

    def stream(self, decode: Callable[[int], Tensor], labels: Tensor) -> Stream:
        """Create a part of the data set.

        Args:
            decode: returns image i, uint8 [c, h, w].
            labels: int64 [n].
        """
        return Stream(decode, labels, torch.arange(len(labels)), self.shape, self.workers)


def fit(pixels: Tensor, channels: int, size: int) -> Tensor:
    """Resize and crop an image and convert it to grey or colour.

    Args:
        pixels: uint8 [h, w] or [c, h, w] of any size, grey or colour.
        channels: 1 (grey) or 3 (colour).
        size: side of the result in pixels.

    Returns:
        uint8 [channels, size, size].

    Raises:
        ValueError: `pixels` has another type or shape.
    """
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ValueError(f"{pixels.dtype} of shape {tuple(pixels.shape)}, not bytes of one or three channels")
    if pixels.shape == (channels, size, size):
        return pixels
    return _resizing(channels, size)(pixels)


@cache
def _resizing(channels: int, size: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    colour = v2.Grayscale(1) if channels == 1 else v2.RGB()
    steps: Callable[[Tensor], Tensor] = v2.Compose([colour, v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    return steps
