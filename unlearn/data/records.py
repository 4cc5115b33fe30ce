"""Files that list records of the training part: deletion requests, and what a checkpoint was trained on."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, TypeVar

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.errors import DataError, Problem, some

COLUMNS = ("index", "file")  # of a CSV, where there are several

Found = TypeVar("Found")


def read_records(path: Path, key: str) -> list[int | str]:
    """The records that a file lists, in its order: indices, or names where an item is no integer.

    Text: one a line, `#` starts a comment. CSV: the column `index` or `file`, or the only one. JSON: a list, or an
    object with a list under `indices`.

    Raises:
        DataError: the file is missing, or holds something else; the message names the config's `key`.
    """
    text = read_text(path, key)
    reader = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower(), _from_lines)
    try:
        return [record(item) for item in reader(text)]
    except (ValueError, LookupError, TypeError, RecursionError, csv.Error) as error:
        raise DataError(f"{key}: expected a list of records, came {error} in {path}") from error


def read_text(path: Path, key: str) -> str:
    """What a file of the user's says.

    Raises:
        DataError: it is missing, or no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{key}: expected a readable text file, came {path}: {error}") from error


_found: dict[tuple[Any, ...], Any] = {}  # what each file meant for each data set, as long as it stays


def remembered(read: Callable[[Path, Dataset, str], Found], path: Path, dataset: Dataset, key: str) -> Found:
    """What `read(path, dataset, key)` makes of a file, which is asked again only once the file has changed."""
    stat = path.stat() if path.is_file() else None
    meant = (read, path.resolve(), stat and (stat.st_size, stat.st_mtime_ns), repr(dataset), key)
    if meant not in _found:
        _found[meant] = read(path, dataset, key)
    found: Found = _found[meant]
    return found


def find_records(path: Path, dataset: Dataset, key: str) -> Tensor:
    """Indices int64 of the records that a file lists, sorted, as they are repeated.

    Raises:
        DataError: the file cannot be read, or the data set has no record of a name in it.
    """
    return remembered(_find, path, dataset, key)


def _find(path: Path, dataset: Dataset, key: str) -> Tensor:
    return locate(read_records(path, key), path, dataset, key).sort().values


def locate(listed: Sequence[int | str], path: Path, dataset: Dataset, key: str) -> Tensor:
    """Indices int64 of the records that the file at `path` lists, in its order.

    Raises:
        DataError: the data set has no record of a name among them.
    """
    found = [each if isinstance(each, int) else dataset.find(each) for each in listed]
    unknown = [str(each) for each, index in zip(listed, found, strict=True) if index is None]
    if unknown:
        raise DataError(f"{key}: expected records of the training part, came {some(unknown)} in {path}")
    return torch.tensor([index for index in found if index is not None], dtype=torch.int64)


def list_problems(path: Path, dataset: Dataset, key: str) -> Iterator[Problem | str]:
    """What is wrong with a list for that data set: unreadable, empty, repeated or foreign records."""
    try:
        indices = find_records(path, dataset, key)
    except DataError as error:
        yield str(error)
        return
    yield from record_problems(indices, path, dataset, key)


def record_problems(indices: Tensor, path: Path, dataset: Dataset, key: str) -> Iterator[Problem]:
    """What is wrong with sorted indices int64 that a file lists: none, repeated or foreign ones."""
    if not len(indices):
        yield Problem(key, "at least one record", f"an empty list in {path}")
    repeated = [index for index, after in pairwise(indices.tolist()) if index == after]
    if repeated:
        yield Problem(key, "each record once", f"repeated {some(repeated)}")
    foreign = indices[~torch.isin(indices, dataset.records)].tolist()
    if foreign:
        last = int(dataset.records[-1])
        few = "" if last == dataset.size - 1 else f", of the {dataset.size} that dataset.limit lets take part"
        yield Problem(key, f"indices from 0 to {last}{few}", some(foreign))


def _from_json(text: str) -> list[Any]:
    found = json.loads(text)
    found = found["indices"] if isinstance(found, dict) else found
    if not isinstance(found, list):
        raise TypeError(f"a JSON {type(found).__name__}")
    return found


def _from_csv(text: str) -> list[Any]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    named = [name for name in COLUMNS if rows and name in rows[0]]
    if named:
        column = rows[0].index(named[0])
        return [row[column] for row in rows[1:]]
    if any(len(row) != 1 for row in rows):
        raise ValueError(f"several columns, none of them named {' or '.join(COLUMNS)},")
    return [row[0] for row in rows]


def _from_lines(text: str) -> list[Any]:
    lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def record(item: Any) -> int | str:
    """An index, or a name as POSIX writes it.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise TypeError(repr(item))
    text = str(item).strip()
    if re.fullmatch(r"[+-]?\d{1,18}", text):  # within 63 bits
        return int(text)
    if not PurePath(text).suffix or re.fullmatch(r"[+-]?[\d.]+", text):
        raise ValueError(f"{text!r}, neither an index nor the name of a file,")
    return PurePath(text).as_posix()
