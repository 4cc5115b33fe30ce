"""Batches from images in memory or on disk: no per-sample Python on what is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count, islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unlearn.core.batch import Batch
from unlearn.core.random_streams import stream
from unlearn.core.types import ImageSource, Subset
from unlearn.data.augmentation import Augmentation


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


class _Plan(NamedTuple):
    """What was drawn for each batch of a pass."""

    positions: list[Tensor]  # int64 [b]
    drawn: list[Tensor]  # int64 [3, b], as `Augmentation.draw` has it
    weights: list[Tensor | None]  # float32 [b]

    def to(self, device: torch.device) -> _Plan:
        """The same on the device of the data."""
        if device.type == "cpu":
            return self
        sizes = [len(positions) for positions in self.positions]
        numbers = torch.cat([torch.cat(self.positions)[None], torch.cat(self.drawn, 1)])
        parts = torch.split(_sent(numbers, device), sizes, 1)
        return _Plan([part[0] for part in parts], [part[1:] for part in parts], self._weights_on(device, sizes))

    def _weights_on(self, device: torch.device, sizes: list[int]) -> list[Tensor | None]:
        if all(own is None for own in self.weights):
            return self.weights
        filled = [torch.zeros(n) if own is None else own for n, own in zip(sizes, self.weights, strict=True)]
        sent = torch.split(_sent(torch.cat(filled), device), sizes)
        return [None if own is None else there for own, there in zip(self.weights, sent, strict=True)]


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on a device that nobody waits for; that takes pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True)


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
        """One pass; `lap` counts the passes within an epoch for data that start over.

        All of it is drawn before the first batch. A GPU gets it in one copy that nobody waits for, and no step waits.
        """
        plan = self._plan(epoch, lap).to(self.data.labels.device)
        for positions, drawn, weights, pixels in zip(*plan, self.data.batches(plan.positions), strict=True):
            images = self.augmentation(pixels, drawn).float().div_(255)
            yield Batch(images, self.data.labels.index_select(0, positions), weights)

    def _plan(self, epoch: int, lap: int) -> _Plan:
        role = f"{self.role}/{lap}" if lap else self.role
        order = torch.randperm(len(self.data), generator=stream(self.seed, "order", role, epoch))
        draws = stream(self.seed, "augment", role, epoch)
        mirrored = self._mirrored(epoch + lap)
        positions, drawn, weights = list[Tensor](), list[Tensor](), list[Tensor | None]()
        for chunk in order.tensor_split([step * self.batch_size for step in range(1, len(self))]):
            rows, their_weights = self.rows.of(chunk) if self.rows else (slice(None), None)
            turns = None if mirrored is None else mirrored[chunk]
            positions.append(chunk[rows])
            drawn.append(self.augmentation.draw(len(chunk), draws, turns)[:, rows])
            weights.append(their_weights)
        return _Plan(positions, drawn, weights)

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
