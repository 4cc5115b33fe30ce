"""Records that a file lists, as indices into the training part of a data set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from unlearn.core.errors import DataError, Problem, abbreviate
from unlearn.data.datasets.base import Dataset
from unlearn.data.requests.records.names import Names
from unlearn.data.requests.records.read import read_records
from unlearn.data.requests.records.record import Record

T = TypeVar("T")
SEVERAL = r"\d+(\s*[-:,;]\s*|\s+)\d+.*"  # numbers on one line
SHOWN = 5  # records in a message


@dataclass(frozen=True)
class RecordList:
    """Indices int64 [n] of records, what the file calls each of them, and where it lists them ("line 3")."""

    index: Tensor
    named: tuple[str, ...]
    where: tuple[str, ...]

    def at(self, positions: Sequence[int]) -> str:
        """The records at some positions, with their places in the file."""
        return abbreviate([f"{self.index[i]} ({self.where[i]})" for i in positions])

    def taken(self, order: Tensor) -> RecordList:
        """The records at these positions, in this order."""
        positions = order.tolist()
        named, where = (tuple(texts[i] for i in positions) for texts in (self.named, self.where))
        return RecordList(self.index[order], named, where)


_read: dict[tuple[Any, ...], Any] = {}  # what each file meant for each data set, as long as it stays


def read_cached(read: Callable[[Path, Dataset, str], T], path: Path, dataset: Dataset, key: str) -> T:
    """What `read(path, dataset, key)` returns, called again only once the file has changed.

    Raises:
        DataError: the path cannot be looked at; or what `read` raises.
    """
    try:
        stat = path.stat() if path.is_file() else None
    except OSError as error:  # a name too long, a folder that may not be entered
        raise DataError(f"{key}: expected a readable file, got {path}: {error.strerror or error}") from error
    asked = (read, os.path.realpath(path), stat and (stat.st_size, stat.st_mtime_ns), repr(dataset), key)
    if asked not in _read:
        _read[asked] = read(path, dataset, key)
    result: T = _read[asked]
    return result


def find_records(path: Path, dataset: Dataset, key: str) -> RecordList:
    """The records that a file lists, sorted by index, as they are repeated.

    Raises:
        DataError: the file cannot be read, or the data set has no record of a name in it.
    """
    return read_cached(_find, path, dataset, key)


def _find(path: Path, dataset: Dataset, key: str) -> RecordList:
    listed = locate(read_records(path, key), path, dataset, key)
    return listed.taken(listed.index.argsort(stable=True))


def locate(records: Sequence[Record], path: Path, dataset: Dataset, key: str, several: bool = True) -> RecordList:
    """The records that the file at `path` lists, in its order.

    Args:
        several: whether one of them may name several files, by a folder or a pattern.

    Raises:
        DataError: the data set has no record of a name among them, or an index and a name disagree.
    """
    by_index = [record for record in records if isinstance(record.index, int) and record.file is None]
    if by_index and dataset.index_ambiguity:
        shown = abbreviate([f"{record.index} ({record.where})" for record in by_index])
        expected = f"names of files, not indices, since {dataset.index_ambiguity}"
        raise DataError(f"{key}: expected {expected}, got {shown} in {path}")
    names = Names(dataset)
    found: list[tuple[int, Record]] = []
    wrong: list[str] = []
    for record in records:
        try:
            indices = _indices(record, names)
            if len(indices) > 1 and not several:
                raise LookupError(f"it names {len(indices)} files")
            found.extend((index, record) for index in indices)
        except LookupError as error:
            reason = str(error) or (_hint(record, names) if len(wrong) < SHOWN else "")
            wrong.append(f"{record.name!r} ({record.where}{reason and f': {reason}'})")
    if wrong:
        raise DataError(f"{key}: expected records of the training part, got {abbreviate(wrong)} in {path}")
    index = torch.tensor([index for index, _ in found], dtype=torch.int64)
    return RecordList(index, tuple(record.name for _, record in found), tuple(record.where for _, record in found))


def _indices(record: Record, names: Names) -> list[int]:
    """The records that a record of a list stands for.

    Raises:
        LookupError: none, or it can be read in two ways.
    """
    if record.line is None or not names.paths:
        return _as_read(record, names)
    if names.exactly(record.line):  # the path itself holds what begins a comment
        return names.find(record.line)
    whole = _found(lambda: names.find(record.line or ""))
    if not whole:
        return _as_read(record, names)
    without = _found(lambda: _as_read(record, names))
    if without and without != whole:
        raise LookupError(f"{record.line!r} is a name, and {record.name!r} with a comment is another; put it in quotes")
    return whole


def _found(find: Callable[[], list[int]]) -> list[int]:
    """What `find` gives; none where nothing is there. What fits several is passed on."""
    try:
        return find()
    except LookupError as error:
        if str(error):
            raise
        return []


def _as_read(record: Record, names: Names) -> list[int]:
    if isinstance(record.index, int) and (record.file is None or not names.paths):
        if record.text and (named := names.called(record.text, record.index)):
            raise LookupError(
                f"both the index of {names.at(record.index)} and the name of {named}; write the path of the file, or "
                "the index in a CSV with a column index"
            )
        return [record.index]
    listed = [item for item in (record.index, record.file) if item is not None]
    index, *others = [[item] if isinstance(item, int) else names.find(item) for item in listed]
    if others and index != others[0]:
        raise LookupError(
            f"the file {record.file!r} has index {abbreviate(others[0])}; leave one of the two columns out"
        )
    return index


def _hint(record: Record, names: Names) -> str:
    text = str(record.index if record.file is None else record.file)
    near = names.nearest(text)
    if re.fullmatch(SEVERAL, text):
        return "one record a line"
    return near and f"nearest: {near}"


def find_list_problems(path: Path, dataset: Dataset, key: str) -> Iterator[Problem | str]:
    """What is wrong with a list for that data set: unreadable, empty, repeated or foreign records."""
    try:
        listed = find_records(path, dataset, key)
    except DataError as error:
        yield str(error)
        return
    yield from find_record_problems(listed, path, dataset, key)


def find_record_problems(listed: RecordList, path: Path, dataset: Dataset, key: str) -> Iterator[Problem]:
    """What is wrong with the records that a file lists, sorted: none, repeated or foreign ones."""
    if not len(listed.index):
        yield Problem(key, "at least one record", f"an empty list in {path}")
    pairs = enumerate(pairwise(listed.index.tolist()))
    repeated = [
        f"{index} ({listed.where[i]} and {listed.where[i + 1]})" for i, (index, after) in pairs if index == after
    ]
    if repeated:
        yield Problem(key, "each record once", f"repeated {abbreviate(repeated)}")
    foreign = (~torch.isin(listed.index, dataset.records)).nonzero()[:, 0].tolist()
    if foreign:
        last = int(dataset.records[-1])
        few = "" if last == dataset.size - 1 else f", of the {dataset.size} that dataset.limit lets take part"
        yield Problem(key, f"indices from 0 to {last}{few}", listed.at(foreign))
