"""Batches from images in memory or on disk: no per-sample Python on what is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count, islice
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.batch import Batch
from unlearn.seeding import stream
from unlearn.types import ImageSource, Subset


class Augmentation(NamedTuple):
    """Random crop after padding, in pixels, and mirroring, per sample.

    Mirroring is drawn again in each epoch, or alternates: the loader then says which samples are mirrored.
    """

    crop_padding: int = 0
    flip: bool = False
    flip_alternates: bool = False
    crop_fill: str = "zeros"  # or reflect: what the padding holds

    def draw(self, n: int, draws: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
        """Row, column and whether to mirror, of each of `n` samples: int64 [3, n].

        `mirrored` bool [n] is whose turn it is, where mirroring alternates.
        """
        drawn = torch.zeros(3, n, dtype=torch.int64)
        if self.crop_padding:
            drawn[:2] = torch.randint(0, 2 * self.crop_padding + 1, (2, n), generator=draws)
        if mirrored is not None:
            drawn[2] = mirrored
        elif self.flip:
            drawn[2] = torch.rand(n, generator=draws) < 0.5
        return drawn

    def __call__(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """uint8 [b, c, h, w], which it may overwrite, cropped and mirrored as `drawn` [3, b] says."""
        padding, (_, _, height, width) = self.crop_padding, pixels.shape
        if padding:
            # A view [b, c, 2p+1, 2p+1, h, w] on the padded images: a random crop is then one gather.
            padded = F.pad(pixels, (padding,) * 4)
            if self.crop_fill == "reflect":
                _reflect(padded, padding)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            pixels = _gathered(windows, drawn[0], drawn[1])
        if self.flip:
            _mirror(pixels, drawn[2].nonzero()[:, 0].to(pixels.device))
        return pixels


def _reflect(padded: Tensor, padding: int) -> None:
    """Fill the margins of [b, c, h, w] with what they mirror, in place; `F.pad` does so for floats alone.

    A line at a time: to flip whole margins takes twice as long.
    """
    for dim in (3, 2):
        last = padded.shape[dim] - 1
        for line in range(padding):
            padded.select(dim, line).copy_(padded.select(dim, 2 * padding - line))
            padded.select(dim, last - line).copy_(padded.select(dim, last - 2 * padding + line))


# On a CPU by NumPy, which copies whole lines where torch copies pixels: four times as fast.


def _gathered(windows: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """One window [c, h, w] of each image."""
    images = torch.arange(len(rows))
    if windows.is_cpu:
        return torch.from_numpy(windows.numpy()[images.numpy(), :, rows.numpy(), columns.numpy()])
    return windows[images, :, rows, columns]


def _mirror(images: Tensor, which: Tensor) -> None:
    """Some of them, in place."""
    mirrored = images.index_select(0, which).flip(3)
    if images.is_cpu:
        images.numpy()[which.numpy()] = mirrored.numpy()
    else:
        images[which] = mirrored


class Rows(Protocol):
    """Which rows of a batch a loader gives."""

    def of(self, chunk: Tensor) -> tuple[Tensor | slice, Tensor | None]:
        """Of the samples int64 [n] of a batch: places int64 [b] in it, and their weights float32 [b]; None: 1 / b."""


class Without(NamedTuple):
    """All but the rows of some samples; each loss is still divided by what the batch had with them."""

    lost: Tensor  # bool [n], of all samples

    def of(self, chunk: Tensor) -> tuple[Tensor | slice, Tensor | None]:
        """Those that are not lost, perhaps none, each weighing 1 / n."""
        kept = (~self.lost[chunk]).nonzero()[:, 0]
        whole = len(kept) == len(chunk)
        return (slice(None), None) if whole else (kept, torch.full((len(kept),), 1 / len(chunk)))


class Share(NamedTuple):
    """Which samples of every batch are process `rank`'s own: `world` runs of nearly equal length, in order.

    Weights are world / n, so that the mean over processes of their weighted sums is the batch's mean. A share of
    fewer than two is filled up with neighbours of weight 0: batch normalisation needs two. Of a batch of one each
    process has that one alone.
    """

    rank: int
    world: int

    def of(self, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """The process's own, and what fills them up."""
        n = len(chunk)
        each, more = divmod(n, self.world)
        first, own = self.rank * each + min(self.rank, more), each + (self.rank < more)
        positions = (first + torch.arange(min(max(own, 2), n))) % n
        return positions, torch.where(torch.arange(len(positions)) < own, self.world / n, 0.0)


class Loader:
    """Shuffled batches over an `ImageSource`, the same for the same seed, role and epoch, wherever the images lie.

    Order and augmentation are drawn anew for each epoch from streams that its number names, so a run resumed at
    any epoch sees what an undisturbed one would. Where mirroring alternates, a random half of the samples, the same
    for the same seed and role, begins mirrored, and every sample changes from epoch to epoch and from lap to lap. A
    last batch of one sample joins its predecessor, because batch normalisation cannot train on one. With `rows`
    batches are a part of those, under the same draws.
    """

    def __init__(
        self,
        data: ImageSource,
        batch_size: int,
        seed: int,
        role: str,
        augmentation: Augmentation | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.role = role
        self.augmentation = augmentation or Augmentation()
        self.rows = rows

    def __len__(self) -> int:
        return batches_of(len(self.data), self.batch_size)

    def batches(self, epoch: int, lap: int = 0) -> Iterator[Batch]:
        """One pass; `lap` counts the passes within an epoch for data that start over."""
        role = f"{self.role}/{lap}" if lap else self.role
        order = torch.randperm(len(self.data), generator=stream(self.seed, "order", role, epoch))
        draws = stream(self.seed, "augment", role, epoch)
        starts = [step * self.batch_size for step in range(1, len(self))]
        chunks = order.tensor_split(starts)
        rows = [self.rows.of(chunk) if self.rows else (slice(None), None) for chunk in chunks]
        wanted = [chunk[own] for chunk, (own, _) in zip(chunks, rows, strict=True)]
        mirrored = self._mirrored(epoch + lap)
        parts = zip(chunks, rows, wanted, self.data.batches(wanted), strict=True)
        for chunk, (own, weights), taken, pixels in parts:
            turns = None if mirrored is None else mirrored[chunk]
            drawn = self.augmentation.draw(len(chunk), draws, turns)[:, own]
            images = self.augmentation(pixels, drawn).float().div_(255)
            labels = self.data.labels.index_select(0, taken.to(images.device))
            yield Batch(images, labels, None if weights is None else weights.to(images.device))

    def _mirrored(self, turn: int) -> Tensor | None:
        """Whose turn it is, bool [n]; None where mirroring does not alternate."""
        if not (self.augmentation.flip and self.augmentation.flip_alternates):
            return None
        begins = torch.rand(len(self.data), generator=stream(self.seed, "flip", self.role)) < 0.5
        return begins ^ (turn % 2 == 1)


def batches_of(n: int, batch_size: int) -> int:
    """Batches that `n` samples give: a last one of a single sample joins its predecessor."""
    return max(1, n // batch_size + (n % batch_size > 1))


class PairedLoader:
    """Batches of several subsets side by side, `{name: Batch}`; the iterable that Lightning trains on.

    An epoch is one pass over the first subset; the others start over, in a new order, as often as needed.
    """

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self.loaders = loaders
        self.epoch = 0  # which streams the next pass draws from

    def __len__(self) -> int:
        return len(next(iter(self.loaders.values())))

    def steps(self, epoch: int) -> int:
        """Batches of an epoch."""
        del epoch
        return len(self)

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        endless = {name: self._laps(loader) for name, loader in self.loaders.items()}
        for _ in range(len(self)):
            yield {name: next(batches) for name, batches in endless.items()}

    def _laps(self, loader: Loader) -> Iterator[Batch]:
        for lap in count():
            yield from loader.batches(self.epoch, lap)


class SerialLoader:
    """Passes over subsets one after another, `{name: Batch}` with one name at a time.

    `passes` tells which subsets an epoch goes through, in their order, so epochs may differ in length.
    """

    def __init__(self, loaders: Mapping[str, Loader], passes: Callable[[int], tuple[Subset, ...]]) -> None:
        self.loaders = loaders
        self.passes = passes
        self.epoch = 0

    def steps(self, epoch: int) -> int:
        """Batches of an epoch."""
        return sum(len(self.loaders[name]) for name in self.passes(epoch))

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        for name in self.passes(self.epoch):
            for batch in self.loaders[name].batches(self.epoch):
                yield {name: batch}


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
