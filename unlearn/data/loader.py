"""Batches from tensors that stay on the training device: no workers, no per-sample Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, count, islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.seeding import stream
from unlearn.types import Images


class Batch(NamedTuple):
    """Images float32 [b, c, h, w] in [0, 1], labels int64 [b]."""

    images: Tensor
    labels: Tensor


class Augmentation(NamedTuple):
    """Random crop after zero padding, in pixels, and random mirroring; drawn per sample."""

    crop_padding: int = 0
    flip: bool = False


class Loader:
    """Shuffled batches over an `Images`, the same for the same seed, role and epoch.

    Order and augmentation are drawn anew for each epoch from streams that its number names, so a run resumed at
    any epoch sees what an undisturbed one would. A last batch of one sample joins its predecessor, because batch
    normalisation cannot train on one.
    """

    def __init__(
        self, data: Images, batch_size: int, seed: int, role: str, augmentation: Augmentation | None = None
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.role = role
        self.augmentation = augmentation or Augmentation()
        self._windows = _windows(data.images, self.augmentation.crop_padding)

    def __len__(self) -> int:
        n, b = len(self.data), self.batch_size
        return max(1, n // b + (n % b > 1))

    def batches(self, epoch: int, lap: int = 0) -> Iterator[Batch]:
        """One pass; `lap` counts the passes within an epoch for data that start over."""
        role = f"{self.role}/{lap}" if lap else self.role
        order = torch.randperm(len(self.data), generator=stream(self.seed, "order", role, epoch))
        draws = stream(self.seed, "augment", role, epoch)
        for step in range(len(self)):
            stop = None if step == len(self) - 1 else (step + 1) * self.batch_size
            chosen = order[step * self.batch_size : stop]
            images = self._pixels(chosen, draws).float().div_(255)
            yield Batch(images, self.data.labels[chosen.to(images.device)])

    def _pixels(self, chosen: Tensor, draws: torch.Generator) -> Tensor:
        """uint8 [b, c, h, w], cropped and mirrored."""
        device = self.data.images.device
        padding, n = self.augmentation.crop_padding, len(chosen)
        if padding:
            rows, columns = torch.randint(0, 2 * padding + 1, (2, n), generator=draws).to(device)
            pixels = self._windows[chosen.to(device), :, rows, columns]
        else:
            pixels = self.data.images[chosen.to(device)]
        if self.augmentation.flip:
            mirrored = (torch.rand(n, generator=draws) < 0.5).to(device)
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        return pixels


def _windows(images: Tensor, padding: int) -> Tensor:
    """A view [n, c, 2p+1, 2p+1, h, w] on the padded images: a random crop is then one gather."""
    height, width = images.shape[-2:]
    return F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)


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


def sequential(data: Images, batch_size: int) -> Iterator[Batch]:
    """Every sample once, in order, unaugmented: for evaluation."""
    for start in range(0, len(data), batch_size):
        part = slice(start, start + batch_size)
        yield Batch(data.images[part].float().div_(255), data.labels[part])


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
