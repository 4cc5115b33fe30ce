"""Loaders of shuffled, augmented batches; images in memory need no Python code per sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count, islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unlearn.core.batch import Batch
from unlearn.core.random_streams import stream
from unlearn.core.types import ImageSource, Subset, as_float
from unlearn.data.augmentation import Augmentation


class RowSelection(Protocol):
    """Selects the rows of each batch that a loader returns."""

    def select(self, chunk: Tensor) -> tuple[Tensor | slice, Tensor | None]:
        """Select rows of a batch.

        Args:
            chunk: the samples of the batch, int64 [n].

        Returns:
            Positions int64 [b] in the batch, and their weights float32 [b]; None weighs each 1 / b.
        """


class ExcludedSamples(NamedTuple):
    """Leaves out given samples; each loss is still divided by the size of the batch with them."""

    is_excluded: Tensor  # bool [n], of all samples

    def select(self, chunk: Tensor) -> tuple[Tensor | slice, Tensor | None]:
        """Select the remaining samples, perhaps none, with weight 1 / n each."""
        positions = (~self.is_excluded[chunk]).nonzero()[:, 0]
        if len(positions) == len(chunk):
            return slice(None), None
        return positions, torch.full((len(positions),), 1 / len(chunk))


class RankShard(NamedTuple):
    """Selects the samples of each batch for process `rank`: one of `world` runs of nearly equal length, in order.

    Weights are world / n, so that the mean over processes of their weighted sums is the mean of the batch. A shard of
    fewer than two samples is filled up with neighbours of weight 0, because batch normalisation needs two. If the
    batch has one sample, every process gets that sample only.
    """

    rank: int
    world: int

    def select(self, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Select the shard of this process and the samples that fill it up."""
        n = len(chunk)
        quotient, remainder = divmod(n, self.world)
        start, size = self.rank * quotient + min(self.rank, remainder), quotient + (self.rank < remainder)
        positions = (start + torch.arange(min(max(size, 2), n))) % n
        return positions, torch.where(torch.arange(len(positions)) < size, self.world / n, 0.0)


class _Plan(NamedTuple):
    """The random draws of a pass, batch by batch."""

    positions: list[Tensor]  # int64 [b]
    drawn: list[Tensor]  # int64 [3, b], from `Augmentation.draw`
    weights: list[Tensor | None]  # float32 [b]

    def to(self, device: torch.device) -> _Plan:
        """Copy the plan to the device of the data."""
        if device.type == "cpu":
            return self
        sizes = [len(positions) for positions in self.positions]
        numbers = torch.cat([torch.cat(self.positions)[None], torch.cat(self.drawn, 1)])
        parts = torch.split(_copy_to(numbers, device), sizes, 1)
        return _Plan([part[0] for part in parts], [part[1:] for part in parts], self._weights_on(device, sizes))

    def _weights_on(self, device: torch.device, sizes: list[int]) -> list[Tensor | None]:
        if all(weights is None for weights in self.weights):
            return self.weights
        filled = [
            torch.zeros(n) if weights is None else weights for n, weights in zip(sizes, self.weights, strict=True)
        ]
        copies = torch.split(_copy_to(torch.cat(filled), device), sizes)
        return [None if weights is None else copy for weights, copy in zip(self.weights, copies, strict=True)]


def _copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for it, which takes pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True)


class Loader:
    """Shuffled batches over an `ImageSource`; equal seeds, roles and epochs give equal batches.

    The number of the epoch names the random streams of its order and augmentation, so a run that resumes at any epoch
    gets the same batches as an uninterrupted one. If mirroring alternates, a random half of the samples, the same for
    the same seed and role, starts mirrored, and every sample changes from epoch to epoch and from lap to lap. A last
    batch of one sample joins its predecessor, because batch normalisation cannot train on one.

    Args:
        data: the images, in memory or on disk.
        batch_size: samples per batch.
        seed: seed of the random streams.
        role: name of the random streams.
        augmentation: random crops and mirroring; None: neither.
        rows: selects rows of each batch; the random draws do not depend on it. None: all rows.
    """

    def __init__(
        self,
        data: ImageSource,
        batch_size: int,
        seed: int,
        role: str,
        augmentation: Augmentation | None = None,
        rows: RowSelection | None = None,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.role = role
        self.augmentation = augmentation or Augmentation()
        self.rows = rows

    def __len__(self) -> int:
        return count_batches(len(self.data), self.batch_size)

    def batches(self, epoch: int, lap: int = 0) -> Iterator[Batch]:
        """Iterate over one pass.

        Everything is drawn before the first batch and copied to the device at once, so that no step waits for it.

        Args:
            epoch: the number of the epoch.
            lap: the number of earlier passes over these data within the epoch.
        """
        plan = self._plan(epoch, lap).to(self.data.labels.device)
        for positions, drawn, weights, pixels in zip(*plan, self.data.batches(plan.positions), strict=True):
            images = as_float(self.augmentation(pixels, drawn))
            yield Batch(images, self.data.labels.index_select(0, positions), weights)

    def _plan(self, epoch: int, lap: int) -> _Plan:
        role = f"{self.role}/{lap}" if lap else self.role
        order = torch.randperm(len(self.data), generator=stream(self.seed, "order", role, epoch))
        draws = stream(self.seed, "augment", role, epoch)
        is_mirrored = self._alternate(epoch + lap)
        positions, drawn, weights = list[Tensor](), list[Tensor](), list[Tensor | None]()
        for chunk in order.tensor_split([step * self.batch_size for step in range(1, len(self))]):
            rows, row_weights = self.rows.select(chunk) if self.rows else (slice(None), None)
            chunk_mirrored = None if is_mirrored is None else is_mirrored[chunk]
            positions.append(chunk[rows])
            drawn.append(self.augmentation.draw(len(chunk), draws, chunk_mirrored)[:, rows])
            weights.append(row_weights)
        return _Plan(positions, drawn, weights)

    def _alternate(self, turn: int) -> Tensor | None:
        """Which samples are mirrored in a pass, bool [n]; None if mirroring does not alternate."""
        if not (self.augmentation.flip and self.augmentation.flip_alternates):
            return None
        starts_mirrored = torch.rand(len(self.data), generator=stream(self.seed, "flip", self.role)) < 0.5
        return starts_mirrored ^ (turn % 2 == 1)


def count_batches(n: int, batch_size: int) -> int:
    """Number of batches of `n` samples; a last batch of a single sample joins its predecessor."""
    return max(1, n // batch_size + (n % batch_size > 1))


class PairedLoader:
    """Steps with one batch of every subset, `{name: Batch}`; the iterable that Lightning trains on.

    An epoch is one pass over the first subset; the others start over, in a new order, as often as needed.
    """

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self.loaders = loaders
        self.epoch = 0  # names the random streams of the next pass

    def __len__(self) -> int:
        return len(next(iter(self.loaders.values())))

    def steps(self, epoch: int) -> int:
        """Number of batches in an epoch."""
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
    """Passes over subsets one after another; each step is a `{name: Batch}` with a single name.

    Args:
        loaders: the loader of each subset.
        passes: returns the subsets of an epoch in order; epochs may differ in length.
    """

    def __init__(self, loaders: Mapping[str, Loader], passes: Callable[[int], tuple[Subset, ...]]) -> None:
        self.loaders = loaders
        self.passes = passes
        self.epoch = 0

    def steps(self, epoch: int) -> int:
        """Number of batches in an epoch."""
        return sum(len(self.loaders[name]) for name in self.passes(epoch))

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        for name in self.passes(self.epoch):
            for batch in self.loaders[name].batches(self.epoch):
                yield {name: batch}


class AlternatingLoader:
    """Steps of one subset each: a pass over the retain set, with a forget batch before every n-th retain batch.

    Retain batches are counted from 1 over all epochs. The forget set starts over, in a new order, as often as needed.

    Args:
        retain: the loader of the retain set; an epoch is a pass over it.
        forget: the loader of the forget set.
        every: n.
    """

    def __init__(self, retain: Loader, forget: Loader, every: int) -> None:
        self.retain = retain
        self.forget = forget
        self.every = every
        self.epoch = 0

    def steps(self, epoch: int) -> int:
        """Number of batches in an epoch."""
        n = len(self.retain)
        return n + (epoch + 1) * n // self.every - epoch * n // self.every

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        forget = chain.from_iterable(self.forget.batches(self.epoch, lap) for lap in count())
        first = self.epoch * len(self.retain) + 1
        for number, batch in enumerate(self.retain.batches(self.epoch), first):
            if number % self.every == 0:
                yield {Subset.FORGET: next(forget)}
            yield {Subset.RETAIN: batch}


StepSource = PairedLoader | SerialLoader | AlternatingLoader  # the batches of an epoch, step by step


class StepLoader:
    """A fixed number of batches, over as many passes as needed."""

    def __init__(self, loader: Loader, steps: int) -> None:
        self.loader = loader
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        laps = (self.loader.batches(epoch=0, lap=lap) for lap in count())
        return islice(chain.from_iterable(laps), self.steps)
