"""Who is to be forgotten: one small dataclass per kind of request."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from omegaconf import MISSING
from torch import Tensor

from unlearn.checks import at_least, runtime, share
from unlearn.data.datasets.base import Dataset
from unlearn.errors import DataError, Problem
from unlearn.seeding import stream


@dataclass(frozen=True)
class Forget(ABC):
    """A rule that picks the forget set out of the training data D."""

    explicit: ClassVar[bool] = False  # names its records; they are kept out of validation and holdout

    def requested(self) -> Tensor:
        """Indices int64 that the request names, sorted; empty for a rule."""
        return torch.empty(0, dtype=torch.int64)

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        """Problems with this request on that data set, found before anything is computed."""
        del dataset
        yield from ()

    @abstractmethod
    def choose(self, index: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The forget set out of D: `index` int64 [n] with `labels` int64 [n]; returns part of `index`."""


@dataclass(frozen=True)
class Random(Forget):
    """Random-sample forgetting: a uniform draw out of D."""

    share: float | None = share(0.1, zero=False)  # of D
    count: int | None = at_least(1, None)  # of images; given, it replaces share

    def choose(self, index: Tensor, labels: Tensor, seed: int) -> Tensor:
        n = len(index)
        return index[torch.randperm(n, generator=stream(seed, "forget"))[: self._wanted(n)]]

    def _wanted(self, n: int) -> int:
        return self.count if self.count is not None else max(1, round((self.share or 0) * n))

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        members = dataset.size - sum(dataset.aside)
        if self.share is None and self.count is None:
            yield Problem("forget.share", "a share in (0, 1), or a forget.count", None)
        elif self._wanted(members) >= members:
            key, came = ("share", self.share) if self.count is None else ("count", self.count)
            yield Problem(f"forget.{key}", f"fewer than all {members} images of the training data", came)


@dataclass(frozen=True)
class ClassWise(Forget):
    """Class-wise forgetting: everything in D with one label."""

    class_index: int = at_least(0, 0)

    def choose(self, index: Tensor, labels: Tensor, seed: int) -> Tensor:
        return index[labels == self.class_index]

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        if self.class_index >= dataset.classes:
            yield Problem("forget.class_index", f"a class from 0 to {dataset.classes - 1}", self.class_index)


@dataclass(frozen=True)
class Indices(Forget):
    """A deletion request: a file that lists positions in the training part of the data set, from 0.

    Text: one a line, `#` starts a comment. CSV: the column `index`, or the only one. JSON: a list, or an object
    with a list under `indices`.
    """

    explicit = True

    file: str = runtime(MISSING)  # path; the key holds the indices, not the path

    def requested(self) -> Tensor:
        return torch.tensor(sorted(read_indices(Path(self.file))), dtype=torch.int64)

    def choose(self, index: Tensor, labels: Tensor, seed: int) -> Tensor:
        return index[torch.isin(index, self.requested())]

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        try:
            indices = self.requested().tolist()
        except DataError as error:
            yield str(error)
            return
        if not indices:
            yield Problem("forget.file", "at least one index", f"an empty list in {self.file}")
        repeated = [index for index, after in pairwise(indices) if index == after]
        if repeated:
            yield Problem("forget.file", "each index once", f"repeated {_some(repeated)}")
        foreign = [index for index in indices if not 0 <= index < dataset.size]
        if foreign:
            yield Problem("forget.file", f"indices from 0 to {dataset.size - 1}", _some(foreign))
        most = dataset.size - sum(dataset.aside) - 1
        if len(indices) > most:
            yield Problem("forget.file", f"at most {most} indices, so that something is retained", len(indices))

    def identity(self) -> dict[str, Any]:
        """What the key holds: a hash of who is named, whatever the file's name, order or format."""
        text = json.dumps(sorted(read_indices(Path(self.file))))
        return {"indices_sha256": hashlib.sha256(text.encode()).hexdigest()}


def read_indices(path: Path) -> list[int]:
    """The integers that a request file lists, in its order.

    Raises:
        DataError: the file is missing, or holds something that is not a list of integers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"forget.file: expected a readable text file, came {path}: {error}") from error
    reader = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower(), _from_lines)
    try:
        return [_integer(item) for item in reader(text)]
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise DataError(f"forget.file: expected a list of integers, came {error} in {path}") from error


def _from_json(text: str) -> list[Any]:
    found = json.loads(text)
    found = found["indices"] if isinstance(found, dict) else found
    if not isinstance(found, list):
        raise TypeError(f"a JSON {type(found).__name__}")
    return found


def _from_csv(text: str) -> list[Any]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and "index" in rows[0]:
        column = rows[0].index("index")
        return [row[column] for row in rows[1:]]
    if any(len(row) != 1 for row in rows):
        raise ValueError("several columns, none of them named index,")
    return [row[0] for row in rows]


def _from_lines(text: str) -> list[Any]:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _integer(item: Any) -> int:
    text = str(item).strip()
    if not re.fullmatch(r"[+-]?\d{1,18}", text):  # within 63 bits
        raise ValueError(repr(item))
    return int(text)


def _some(items: list[int]) -> str:
    shown = ", ".join(map(str, items[:5]))
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} others"
