"""What one's own data sets have in common: images of any size, brought to one, in memory or streamed."""

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

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # what torchvision's models are published with
MIB = 2**20
MOST_PIXELS = 2**27  # of an image once it is resized, before it is cropped
LONGEST_SIDE = math.isqrt(MOST_PIXELS)
PIXEL_UNITS: dict[str, tuple[str, Callable[[float], bool]]] = {  # of pixels from 0 to 1, not to 255
    "mean": ("a finite number in [0, 1]", lambda v: 0 <= v <= 1),
    "std": ("a finite number in (0, 1]", lambda v: 0 < v <= 1),
}


@dataclass(frozen=True)
class UserDataset(Dataset):
    """Images that are resized (the shorter side, antialiased) and cropped at the centre to `size` x `size`.

    What fits into `memory_limit` is decoded once and held; what does not is decoded batch by batch. Both give the
    same bytes.
    """

    size_px: int = checked(32, f"an integer from 4 to {LONGEST_SIDE:,}", lambda v: 4 <= v <= LONGEST_SIDE)
    channels: int = checked(3, "1 (grey) or 3 (colour)", lambda v: v in (1, 3))
    mean: list[float] | None = None  # per channel, of pixels in [0, 1]; null: ImageNet's (of its mean if grey)
    std: list[float] | None = None
    memory_limit: int = runtime(at_least(0, 4096))  # MiB of decoded images; a larger data set is streamed
    workers: int = runtime(at_least(0, 2))  # processes that decode

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size_px, self.size_px

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        mean, std = IMAGENET if self.channels == 3 else ([sum(each) / 3] for each in IMAGENET)
        return self.mean or mean, self.std or std

    @property
    def public(self) -> bool:
        return False

    @property
    def records(self) -> Tensor:
        """With a limit a fixed draw out of all records: folders come class by class."""
        if self.limit is None:
            return super().records
        drawn = torch.randperm(self.train_size, generator=stream(0, "limit"))[: self.size]
        return drawn.sort().values

    def problems(self, key: str) -> Iterator[Problem | str]:
        yield from super().problems(key)
        for name, (expected, accepts) in PIXEL_UNITS.items():
            numbers = getattr(self, name)
            if numbers is not None and not (len(numbers) == self.channels and all(map(accepts, numbers))):
                yield Problem(f"{key}.{name}", f"{expected} for each of the {self.channels} channels", numbers)

    def load(self) -> Contents:
        train, test = self.parts()
        fits = self.fits(len(train) + len(test) + (self.validation_size or 0))
        both: tuple[ImageSource, ImageSource] = (train.resident(), test.resident()) if fits else (train, test)
        return Contents(*both, subclass=self.subclass_labels())

    def fits(self, images: int) -> bool:
        """Whether so many images are held in memory."""
        return images * self.channels * self.size_px**2 <= self.memory_limit * MIB

    @abstractmethod
    def parts(self) -> tuple[Stream, Stream]:
        """The training and the test part."""

    def subclass_labels(self) -> Tensor | None:
        """int64 [n] of the training part, where there are subclasses."""
        return None

    def stream(self, decode: Callable[[int], Tensor], labels: Tensor) -> Stream:
        """A part of `len(labels)` images."""
        return Stream(decode, labels, torch.arange(len(labels)), self.shape, self.workers)


def fit(pixels: Tensor, channels: int, size: int) -> Tensor:
    """uint8 [channels, size, size] from uint8 [h, w] or [c, h, w] of any size, grey or colour.

    Raises:
        ValueError: it is not such a tensor.
    """
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ValueError(f"{pixels.dtype} of shape {tuple(pixels.shape)}, not bytes of one or three channels")
    if pixels.shape == (channels, size, size):
        return pixels
    return _fitting(channels, size)(pixels)


@cache
def _fitting(channels: int, size: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    colour = v2.Grayscale(1) if channels == 1 else v2.RGB()
    steps: Callable[[Tensor], Tensor] = v2.Compose([colour, v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    return steps
