"""Batches from images in memory or on disk: no per-sample Python on what is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, count, islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.seeding import stream
from unlearn.types import ImageSource


class Batch(NamedTuple):
    """Images float32 [b, c, h, w] in [0, 1], labels int64 [b]."""

    images: Tensor
    labels: Tensor


class Augmentation(NamedTuple):
    """Random crop after zero padding, in pixels, and random mirroring; drawn per sample."""

    crop_padding: int = 0
    flip: bool = False

    def __call__(self, pixels: Tensor, draws: torch.Generator) -> Tensor:
        """uint8 [b, c, h, w], cropped and mirrored."""
        padding, (n, _, height, width) = self.crop_padding, pixels.shape
        if padding:
            # A view [b, c, 2p+1, 2p+1, h, w] on the padded images: a random crop is then one gather.
            windows = F.pad(pixels, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
            rows, columns = torch.randint(0, 2 * padding + 1, (2, n), generator=draws).to(pixels.device)
            pixels = windows[torch.arange(n, device=pixels.device), :, rows, columns]
        if self.flip:
            mirrored = (torch.rand(n, generator=draws) < 0.5).to(pixels.device)
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        return pixels


class Loader:
    """Shuffled batches over an `ImageSource`, the same for the same seed, role and epoch, wherever the images lie.

    Order and augmentation are drawn anew for each epoch from streams that its number names, so a run resumed at
    any epoch sees what an undisturbed one would. A last batch of one sample joins its predecessor, because batch
    normalisation cannot train on one.
    """

    def __init__(
        self, data: ImageSource, batch_size: int, seed: int, role: str, augmentation: Augmentation | None = None
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.role = role
        self.augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        n, b = len(self.data), self.batch_size
        return max(1, n // b + (n % b > 1))

    def batches(self, epoch: int, lap: int = 0) -> Iterator[Batch]:
        """One pass; `lap` counts the passes within an epoch for data that start over."""
        role = f"{self.role}/{lap}" if lap else self.role
        order = torch.randperm(len(self.data), generator=stream(self.seed, "order", role, epoch))
        draws = stream(self.seed, "augment", role, epoch)
        starts = [step * self.batch_size for step in range(1, len(self))]
        chunks = order.tensor_split(starts)
        for chosen, pixels in zip(chunks, self.data.batches(chunks), strict=True):
            images = self.augmentation(pixels, draws).float().div_(255)
            yield Batch(images, self.data.labels[chosen.to(images.device)])


class PairedLoader:
    """Batches of several subsets side by side, `{name: Batch}`; the iterable that Lightning trains on.

    An epoch is one pass over the first subset; the others start over, in a new order, as often as needed.
    """

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self.loaders = loaders
        self.epoch = 0  # which streams the next pass draws from

    def __len__(self) -> int:
        return len(next(iter(self.loaders.values())))

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        endless = {name: self._laps(loader) for name, loader in self.loaders.items()}
        for _ in range(len(self)):
            yield {name: next(batches) for name, batches in endless.items()}

    def _laps(self, loader: Loader) -> Iterator[Batch]:
        for lap in count():
            yield from loader.batches(self.epoch, lap)


def sequential(data: ImageSource, batch_size: int) -> Iterator[Batch]:
    """Every sample once, in order, unaugmented: for evaluation."""
    chunks = torch.split(torch.arange(len(data)), batch_size)
    for chosen, pixels in zip(chunks, data.batches(chunks), strict=True):
        yield Batch(pixels.float().div_(255), data.labels[chosen.to(pixels.device)])


class StepLoader:
    """A fixed number of batches, passing over the data as often as that takes."""

    def __init__(self, loader: Loader, steps: int) -> None:
        self.loader = loader
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        laps = (self.loader.batches(epoch=0, lap=lap) for lap in count())
        return islice(chain.from_iterable(laps), self.steps)
