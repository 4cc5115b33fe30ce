"""Images that stay on disk and are decoded batch by batch, in worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unlearn.core.errors import DataError
from unlearn.core.types import Images, ImageSource

CHUNK = 512  # images, when all of them are read
Moved = tuple[Tensor, Tensor] | None  # data set indices (sorted), and the images that take their place


@dataclass(frozen=True)
class Stream:
    """An `ImageSource` on disk: `decode(i)` gives image i of its part, uint8 [c, h, w], the same bytes every time."""

    decode: Callable[[int], Tensor]
    labels: Tensor
    index: Tensor
    shape: tuple[int, int, int]
    workers: int
    moved: Moved = None

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """uint8 [b, c, h, w] for each chunk of positions.

        Raises:
            DataError: an image cannot be read.
        """
        positions = torch.cat(list(chunks)).to(self.index.device)
        indices = self.index[positions].cpu()  # one copy, before the first batch
        wanted = torch.split(indices, [len(chunk) for chunk in chunks])
        order = _Order(wanted)
        if self.workers and wanted and len(wanted[0]):
            _Decoded(self.decode)[int(wanted[0][0])]  # here, so that no worker imports anew what reading takes
        loader = DataLoader(
            _Decoded(self.decode),
            batch_sampler=order,
            num_workers=min(self.workers, os.cpu_count() or 1),
            collate_fn=_stacked,
            pin_memory=self.labels.is_cuda,
            generator=torch.Generator(),  # its own, so that no other draw shifts
        )
        for indices, pixels in zip(wanted, loader, strict=False):
            if isinstance(pixels, DataError):
                order.unreadable = order.unreadable or pixels
            elif order.unreadable is None:
                yield self._with_moved(indices, pixels).to(self.labels.device, non_blocking=True)
        if order.unreadable is not None:
            raise order.unreadable

    def _with_moved(self, indices: Tensor, pixels: Tensor) -> Tensor:
        if self.moved is None:
            return pixels
        moved_index, images = self.moved
        hit = torch.isin(indices, moved_index)
        pixels[hit] = images[torch.searchsorted(moved_index, indices[hit])]
        return pixels

    def take(self, positions: Tensor) -> Stream:
        """Those at `positions`."""
        return replace(self, labels=self.labels[positions], index=self.index[positions])

    def relabelled(self, labels: Tensor) -> Stream:
        """The same images under other labels."""
        return replace(self, labels=labels)

    def replaced(self, index: Tensor, images: Tensor) -> Stream:
        """With the images of some data set indices replaced."""
        return replace(self, moved=(index.cpu(), images.cpu()))

    def to(self, device: str | torch.device) -> Stream:
        """The same, giving its batches on another device."""
        return replace(self, labels=self.labels.to(device), index=self.index.to(device))

    def resident(self) -> Images:
        """All of it in memory."""
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8)
        chunks = torch.split(torch.arange(len(self)), CHUNK)
        for positions, pixels in zip(chunks, self.batches(chunks), strict=True):
            images[positions] = pixels
        return Images(images, self.labels, self.index)


def joined(first: ImageSource, second: ImageSource, shift: int) -> ImageSource:
    """Both, one behind the other, on the first's device; `shift` is added to the second's indices.

    Streams whose second is not shifted are of the same part of a data set.
    """
    labels, index = torch.cat([first.labels, second.labels]), torch.cat([first.index, second.index + shift])
    if isinstance(first, Images) and isinstance(second, Images):
        return Images(torch.cat([first.images, second.images]), labels, index)
    assert isinstance(first, Stream), "parts of a data set are both in memory or both on disk"
    assert isinstance(second, Stream), "parts of a data set are both in memory or both on disk"
    decode = partial(_either, first.decode, second.decode, shift) if shift else first.decode
    return replace(first, decode=decode, labels=labels, index=index, moved=_merged(first.moved, second.moved, shift))


def _either(first: Callable[[int], Tensor], second: Callable[[int], Tensor], shift: int, index: int) -> Tensor:
    return first(index) if index < shift else second(index - shift)


def _merged(first: Moved, second: Moved, shift: int) -> Moved:
    """What is moved in either, by index."""
    parts = [each for each in (first, second and (second[0] + shift, second[1])) if each is not None]
    if not parts:
        return None
    index, images = (torch.cat(both) for both in zip(*parts, strict=True))
    order = index.argsort()
    return index[order], images[order]


class _Decoded(Dataset[Tensor | DataError]):
    """What a DataLoader asks one image at a time; an error is passed on as a value, without a worker's traceback."""

    def __init__(self, decode: Callable[[int], Tensor]) -> None:
        self.decode = decode

    def __getitem__(self, index: int) -> Tensor | DataError:
        try:
            return self.decode(index)
        except DataError as error:
            return error


@dataclass
class _Order:
    """Lists of indices, until one of them cannot be read: workers then end their batches and go."""

    wanted: Sequence[Tensor]
    unreadable: DataError | None = None

    def __iter__(self) -> Iterator[list[int]]:
        for indices in self.wanted:
            if self.unreadable is not None:
                return
            yield indices.tolist()

    def __len__(self) -> int:
        return len(self.wanted)


def _stacked(items: list[Tensor | DataError]) -> Tensor | DataError:
    errors = [item for item in items if isinstance(item, DataError)]
    return errors[0] if errors else torch.stack([item for item in items if isinstance(item, Tensor)])
