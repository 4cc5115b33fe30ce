"""Resolves the records in a file to indices into the training part of a data set."""

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
SEVERAL_NUMBERS = r"\d+(\s*[-:,;]\s*|\s+)\d+.*"  # numbers on one line
MAX_HINTS = 5  # records with a hint in a message


@dataclass(frozen=True)
class RecordList:
    """Records in a file: indices int64 [n], their names in the file, and their locations ("line 3")."""

    index: Tensor
    names: tuple[str, ...]
    locations: tuple[str, ...]

    def format_records(self, positions: Sequence[int]) -> str:
        """Format the records at given positions, with their locations in the file."""
        return abbreviate([f"{self.index[i]} ({self.locations[i]})" for i in positions])

    def take(self, order: Tensor) -> RecordList:
        """Select the records at given positions, in that order."""
        positions = order.tolist()
        names, locations = (tuple(texts[i] for i in positions) for texts in (self.names, self.locations))
        return RecordList(self.index[order], names, locations)


_results: dict[tuple[Any, ...], Any] = {}  # by function, file, size, time of change, data set and key


def read_cached(read: Callable[[Path, Dataset, str], T], path: Path, dataset: Dataset, key: str) -> T:
    """Return `read(path, dataset, key)`, and call it again only after the file has changed.

    Raises:
        DataError: the file status cannot be read; and all that `read` raises.
    """
    try:
        stat = path.stat() if path.is_file() else None
    except OSError as error:  # a name too long, a folder that may not be entered
        raise DataError(f"{key}: expected a readable file, got {path}: {error.strerror or error}") from error
    version = (read, os.path.realpath(path), stat and (stat.st_size, stat.st_mtime_ns), repr(dataset), key)
    if version not in _results:
        _results[version] = read(path, dataset, key)
    result: T = _results[version]
    return result


def find_records(path: Path, dataset: Dataset, key: str) -> RecordList:
    """Find the records that a file lists, sorted by index; repeated records stay repeated.

    Args:
        path: the file.
        dataset: the data set of the records.
        key: the config key that messages name.

    Raises:
        DataError: the file cannot be read, or names a record that the data set does not have.
    """
    return read_cached(_find, path, dataset, key)


def _find(path: Path, dataset: Dataset, key: str) -> RecordList:
    records = locate(read_records(path, key), path, dataset, key)
    return records.take(records.index.argsort(stable=True))


def locate(records: Sequence[Record], path: Path, dataset: Dataset, key: str, allow_several: bool = True) -> RecordList:
    """Resolve the records that were read from a file, in the order of the file.

    Args:
        records: the records in the file.
        path: the file, which messages name.
        dataset: the data set of the records.
        key: the config key that messages name.
        allow_several: whether a record may name several files, by a folder or a pattern.

    Raises:
        DataError: the data set does not have a record, or an index and a name disagree.
    """
    by_index = [record for record in records if isinstance(record.index, int) and record.file is None]
    if by_index and dataset.index_ambiguity:
        got = abbreviate([f"{record.index} ({record.location})" for record in by_index])
        expected = f"names of files, not indices, since {dataset.index_ambiguity}"
        raise DataError(f"{key}: expected {expected}, got {got} in {path}")
    names = Names(dataset)
    located: list[tuple[int, Record]] = []
    unknown: list[str] = []
    for record in records:
        try:
            indices = _find_indices(record, names)
            if len(indices) > 1 and not allow_several:
                raise LookupError(f"it names {len(indices)} files")
            located.extend((index, record) for index in indices)
        except LookupError as error:
            reason = str(error) or (_hint(record, names) if len(unknown) < MAX_HINTS else "")
            unknown.append(f"{record.name!r} ({record.location}{reason and f': {reason}'})")
    if unknown:
        raise DataError(f"{key}: expected records of the training part, got {abbreviate(unknown)} in {path}")
    index = torch.tensor([index for index, _ in located], dtype=torch.int64)
    texts = ((record.name, record.location) for _, record in located)
    record_names, locations = zip(*texts, strict=True) if located else ((), ())
    return RecordList(index, record_names, locations)


def _find_indices(record: Record, names: Names) -> list[int]:
    """Find the indices of a record, with and without its comment.

    Raises:
        LookupError: there is no such record, or the line is ambiguous.
    """
    if record.line is None or not names.paths:
        return _find_without_comment(record, names)
    if names.is_path(record.line):  # the path contains `#`
        return names.find(record.line)
    whole = _find_or_empty(lambda: names.find(record.line or ""))
    if not whole:
        return _find_without_comment(record, names)
    without = _find_or_empty(lambda: _find_without_comment(record, names))
    if without and without != whole:
        raise LookupError(f"{record.line!r} is a name, and {record.name!r} with a comment is another; put it in quotes")
    return whole


def _find_or_empty(find: Callable[[], list[int]]) -> list[int]:
    """Call `find`; an unknown name gives an empty list, an ambiguous one still raises."""
    try:
        return find()
    except LookupError as error:
        if str(error):
            raise
        return []


def _find_without_comment(record: Record, names: Names) -> list[int]:
    if isinstance(record.index, int) and (record.file is None or not names.paths):
        if record.text and (name := names.find_numbered(record.text, record.index)):
            raise LookupError(
                f"both the index of {names.describe(record.index)} and the name of {name}; write the path of the file, "
                "or the index in a CSV with a column index"
            )
        return [record.index]
    given = [item for item in (record.index, record.file) if item is not None]
    index, *others = [[item] if isinstance(item, int) else names.find(item) for item in given]
    if others and index != others[0]:
        raise LookupError(f"the file {record.file!r} has index {abbreviate(others[0])}; remove one of the two columns")
    return index


def _hint(record: Record, names: Names) -> str:
    text = str(record.index if record.file is None else record.file)
    near = names.nearest(text)
    if re.fullmatch(SEVERAL_NUMBERS, text):
        return "write one record per line"
    return near and f"nearest: {near}"


def find_list_problems(path: Path, dataset: Dataset, key: str) -> Iterator[Problem | str]:
    """Find the problems of a list for a data set: an unreadable file, no records, or repeated or unknown ones."""
    try:
        records = find_records(path, dataset, key)
    except DataError as error:
        yield str(error)
        return
    yield from find_record_problems(records, path, dataset, key)


def find_record_problems(records: RecordList, path: Path, dataset: Dataset, key: str) -> Iterator[Problem]:
    """Find the problems of sorted records: an empty list, repeated records, or records outside the data set."""
    if not len(records.index):
        yield Problem(key, "at least one record", f"an empty list in {path}")
    locations = records.locations
    repeated = [
        f"{index} ({locations[i]} and {locations[i + 1]})"
        for i, (index, following) in enumerate(pairwise(records.index.tolist()))
        if index == following
    ]
    if repeated:
        yield Problem(key, "each record once", f"repeated {abbreviate(repeated)}")
    foreign = (~torch.isin(records.index, dataset.records)).nonzero()[:, 0].tolist()
    if foreign:
        last = int(dataset.records[-1])
        limited = "" if last == dataset.size - 1 else f", of the {dataset.size} that dataset.limit selects"
        yield Problem(key, f"indices from 0 to {last}{limited}", records.format_records(foreign))
