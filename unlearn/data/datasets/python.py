"""A data set from a user-supplied Python function."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearn.core.errors import ConfigError, DataError, Problem, UnlearnError, abbreviate
from unlearn.core.user_code import argument_problems, error_location, load_function, source_hash
from unlearn.data.datasets.own import UserDataset, fit
from unlearn.data.stream import Stream

CONTRACT = (
    "a function (**dataset.arguments) that returns a training and a test part: sequences of (image, label), or pairs "
    "(images, labels)"
)


@dataclass(frozen=True)
class PythonDataset(UserDataset):
    """A user-supplied function, `factory(**arguments)`, that returns the training and the test part.

    A part is a sequence of (image, label), such as a `torch.utils.data.Dataset` with a length, or a pair of all images
    and all labels. Images are PIL images, or bytes (uint8 tensors or arrays) [c, h, w] or [h, w]; labels are integers
    from 0. Labels are the attribute `targets` or `labels` of a part if it has one; otherwise all items are read.
    Keys hold the labels, and a hash of the source of the function and of the modules that it imports from its folder.
    They do not depend on the images: the store records a hash of the images that it was filled with (of some images if
    the part is streamed) and refuses other images when it reads them.
    """

    factory: str = ""  # package.module:function, installed or in the current directory
    arguments: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the function

    @property
    def classes(self) -> int:
        return int(self._parts[0].labels.max()) + 1

    @property
    def train_size(self) -> int:
        return len(self._parts[0].labels)

    @property
    def test_size(self) -> int:
        return len(self._parts[1].labels)

    @property
    def pin(self) -> str:
        identity = json.dumps([self.identity(), self.arguments, self.shape], sort_keys=True)
        return f"python-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    @property
    def _parts(self) -> tuple[Pairs, Pairs]:
        return _call_factory(self.factory, json.dumps(self.arguments, sort_keys=True))

    def identity(self) -> dict[str, Any]:
        """Hashes of the source of the function and of the labels, for the key."""
        labels = [hashlib.sha256(part.labels.numpy()).hexdigest() for part in self._parts]  # type: ignore[arg-type]
        return {"source": source_hash(self.factory, "dataset.factory"), "labels": labels}

    def problems(self, key: str) -> Iterator[Problem | str]:
        yield from super().problems(key)
        yield from argument_problems(self.arguments, f"{key}.arguments")
        try:
            load_function(self.factory, f"{key}.factory")
        except ConfigError as error:
            yield from error.problems

    def check(self) -> Iterator[Problem | str]:
        try:
            parts = self._parts
        except UnlearnError as error:
            yield str(error)
            return
        problems = list(_find_label_problems(parts))
        yield from problems
        if not problems:
            yield from super().check()

    def parts(self) -> tuple[Stream, Stream]:
        train, test = (
            self.stream(DecodeItem(part.items, self.size_px, self.channels), part.labels) for part in self._parts
        )
        return train, test


@dataclass(frozen=True)
class Pairs:
    """One part: items and labels int64 [n]; image i is item i, or the first element of item i."""

    items: Any
    labels: Tensor


@dataclass(frozen=True)
class DecodeItem:
    """Decodes image i of a part: uint8 [channels, size, size]."""

    items: Any
    size: int
    channels: int

    def __call__(self, i: int) -> Tensor:
        try:
            item = self.items[i]
            image = item[0] if isinstance(item, tuple | list) else item
            return fit(_pixels(image), self.channels, self.size)
        except Exception as error:  # a user-supplied data set may raise anything
            raise DataError(
                f"dataset.factory: expected images or bytes, got {error_location(error)} as image {i}"
            ) from error


def _pixels(image: Any) -> Tensor:
    """Convert a tensor, an array or a PIL image, whose channels come last, to uint8 [c, h, w] or [h, w]."""
    if isinstance(image, Tensor):
        return image
    pixels = torch.from_numpy(np.array(image))
    return pixels if isinstance(image, np.ndarray) or pixels.ndim == 2 else pixels.permute(2, 0, 1)


@lru_cache(maxsize=2)
def _call_factory(factory: str, arguments: str) -> tuple[Pairs, Pairs]:
    """Call the user-supplied function, once for all jobs of a sweep.

    Raises:
        DataError: the function raised an exception, or returned something else.
    """
    build = load_function(factory, "dataset.factory")
    try:
        train, test = build(**json.loads(arguments))
        return _pairs(train), _pairs(test)
    except Exception as error:  # a user-supplied function may raise anything
        raise DataError(f"dataset.factory: expected {CONTRACT}, got {error_location(error)}") from error


def _pairs(part: Any) -> Pairs:
    if isinstance(part, tuple | list) and len(part) == 2 and len(part[0]) == len(part[1]) != 2:
        images, labels = part
        return Pairs(images, _integers(labels))
    labels = getattr(part, "targets", getattr(part, "labels", None))
    labels = _integers([part[i][1] for i in range(len(part))] if labels is None else labels)
    if len(labels) != len(part):
        raise TypeError(f"{len(labels)} labels of {len(part)} images")
    return Pairs(part, labels)


def _integers(labels: Sequence[int] | Tensor) -> Tensor:
    tensor = torch.as_tensor(labels)
    if tensor.ndim != 1 or (tensor.is_floating_point() and len(tensor)):
        raise TypeError(f"labels of type {tensor.dtype} and shape {tuple(tensor.shape)}, not one integer per image")
    return tensor.long()


def _find_label_problems(parts: tuple[Pairs, Pairs]) -> Iterator[Problem]:
    train, test = (part.labels for part in parts)
    if not len(train) or not len(test):
        got = f"{len(train)} and {len(test)}"
        yield Problem("dataset.factory", "images in the training and the test part", got)
        return
    classes, test_classes = (sorted(set(labels.tolist())) for labels in (train, test))
    if len(classes) < 2 or classes != list(range(len(classes))):
        yield Problem("dataset.factory", "two or more classes, labelled 0 to C - 1", abbreviate(classes))
    elif not set(test_classes) <= set(classes):
        yield Problem("dataset.factory", f"test labels from 0 to {classes[-1]}", abbreviate(test_classes))
