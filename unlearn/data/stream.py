"""Images on disk that worker processes decode batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unlearn.core.errors import DataError
from unlearn.core.progress import reading
from unlearn.core.types import Images, ImageSource

CHUNK_SIZE = 512  # images that are decoded at a time to load all of them
Replacements = tuple[Tensor, Tensor] | None  # data set indices (sorted), and the images that replace theirs


@dataclass(frozen=True)
class Stream:
    """An `ImageSource` on disk.

    Attributes:
        decode: returns image i of its part, uint8 [c, h, w], with the same bytes in every call.
        labels: int64 [n].
        index: int64 [n], the data set indices.
        shape: channels, height, width.
        workers: the number of worker processes.
        replacements: images that replace those on disk.
    """

    decode: Callable[[int], Tensor]
    labels: Tensor
    index: Tensor
    shape: tuple[int, int, int]
    workers: int
    replacements: Replacements = None

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """Decode batches.

        Args:
            chunks: the positions of each batch.

        Yields:
            The images of each batch, uint8 [b, c, h, w], on the device of the labels.

        Raises:
            DataError: an image cannot be read.
        """
        positions = torch.cat(list(chunks)).to(self.index.device)
        indices = self.index[positions].cpu()  # one copy, before the first batch
        batches = torch.split(indices, [len(chunk) for chunk in chunks])
        order = _BatchOrder(batches)
        if self.workers and batches and len(batches[0]):
            _DecodedImages(self.decode)[int(batches[0][0])]  # imports the decoder before the workers start
        loader = DataLoader(
            _DecodedImages(self.decode),
            batch_sampler=order,
            num_workers=min(self.workers, os.cpu_count() or 1),
            collate_fn=_stack,
            pin_memory=self.labels.is_cuda,
            generator=torch.Generator(),  # not the global one, whose state other draws depend on
        )
        for indices, pixels in zip(batches, loader, strict=False):
            if isinstance(pixels, DataError):
                order.unreadable = order.unreadable or pixels
            elif order.unreadable is None:
                yield self._replace(indices, pixels).to(self.labels.device, non_blocking=True)
        if order.unreadable is not None:
            raise order.unreadable

    def _replace(self, indices: Tensor, pixels: Tensor) -> Tensor:
        if self.replacements is None:
            return pixels
        replaced, images = self.replacements
        is_replaced = torch.isin(indices, replaced)
        pixels[is_replaced] = images[torch.searchsorted(replaced, indices[is_replaced])]
        return pixels

    def take(self, positions: Tensor) -> Stream:
        """Select the images at `positions`."""
        return replace(self, labels=self.labels[positions], index=self.index[positions])

    def relabelled(self, labels: Tensor) -> Stream:
        """The same images with other labels."""
        return replace(self, labels=labels)

    def replaced(self, index: Tensor, images: Tensor) -> Stream:
        """Replace the images of given data set indices, int64 [m], sorted."""
        return replace(self, replacements=(index.cpu(), images.cpu()))

    def to(self, device: str | torch.device) -> Stream:
        """The same images, with batches on another device."""
        return replace(self, labels=self.labels.to(device), index=self.index.to(device))

    def load(self) -> Images:
        """Load all images into memory."""
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8)
        chunks = torch.split(torch.arange(len(self)), CHUNK_SIZE)
        with reading(len(self)) as tick:
            for positions, pixels in zip(chunks, self.batches(chunks), strict=True):
                images[positions] = pixels
                tick(int(positions[-1]) + 1, len(self))
        return Images(images, self.labels, self.index)


def concatenate(first: ImageSource, second: ImageSource, shift: int) -> ImageSource:
    """Concatenate two sources on the device of the first.

    Args:
        first: the first source.
        second: the second source, in memory if the first is.
        shift: added to the data set indices of the second; 0 if both are of the same part of a data set.
    """
    labels, index = torch.cat([first.labels, second.labels]), torch.cat([first.index, second.index + shift])
    if isinstance(first, Images) and isinstance(second, Images):
        return Images(torch.cat([first.images, second.images]), labels, index)
    assert isinstance(first, Stream), "parts of a data set are both in memory or both on disk"
    assert isinstance(second, Stream), "parts of a data set are both in memory or both on disk"
    decode = partial(_decode_either, first.decode, second.decode, shift) if shift else first.decode
    replacements = _merge(first.replacements, second.replacements, shift)
    return replace(first, decode=decode, labels=labels, index=index, replacements=replacements)


def _decode_either(first: Callable[[int], Tensor], second: Callable[[int], Tensor], shift: int, index: int) -> Tensor:
    return first(index) if index < shift else second(index - shift)


def _merge(first: Replacements, second: Replacements, shift: int) -> Replacements:
    """Merge the replacements of two sources, sorted by index."""
    shifted = None if second is None else (second[0] + shift, second[1])
    given = [replacements for replacements in (first, shifted) if replacements is not None]
    if not given:
        return None
    index, images = (torch.cat(tensors) for tensors in zip(*given, strict=True))
    order = index.argsort()
    return index[order], images[order]


class _DecodedImages(Dataset[Tensor | DataError]):
    """Images for a DataLoader; an error is returned as a value, so that no worker prints a traceback."""

    def __init__(self, decode: Callable[[int], Tensor]) -> None:
        self.decode = decode

    def __getitem__(self, index: int) -> Tensor | DataError:
        try:
            return self.decode(index)
        except DataError as error:
            return error


@dataclass
class _BatchOrder:
    """The indices of each batch; it ends once an image cannot be read, so that the workers end too."""

    batches: Sequence[Tensor]
    unreadable: DataError | None = None

    def __iter__(self) -> Iterator[list[int]]:
        for indices in self.batches:
            if self.unreadable is not None:
                return
            yield indices.tolist()

    def __len__(self) -> int:
        return len(self.batches)


def _stack(items: list[Tensor | DataError]) -> Tensor | DataError:
    errors = [item for item in items if isinstance(item, DataError)]
    return errors[0] if errors else torch.stack([item for item in items if isinstance(item, Tensor)])
