"""Files that correct labels of records of the training part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.core.errors import DataError, Problem, abbreviate
from unlearn.data.datasets.base import Dataset
from unlearn.data.requests.classes import class_number
from unlearn.data.requests.records.content import decode, read_bytes
from unlearn.data.requests.records.json_lists import table_of_json, table_of_json_lines
from unlearn.data.requests.records.record import Record, columns_of
from unlearn.data.requests.records.resolve import RecordList, find_record_problems, locate, read_cached
from unlearn.data.requests.records.table import Table, read_table

COLUMNS = ("index", "file")
LABELS = ("wrong", "right")  # columns of class numbers from 0, or of names of classes


@dataclass(frozen=True)
class Corrections:
    """Records, sorted by index, and their labels int64 [n]."""

    records: RecordList
    wrong: Tensor
    right: Tensor

    @property
    def index(self) -> Tensor:
        """Indices int64 [n] of the records."""
        return self.records.index

    def of(self, labels: Tensor, positions: list[int]) -> str:
        """Labels at some positions, each with its record and its place in the file."""
        return abbreviate([f"{labels[i]} for record {self._shown(i)}" for i in positions])

    def _shown(self, position: int) -> str:
        return f"{self.records.named[position]} ({self.records.where[position]})"

    def digest(self) -> str:
        """Hash of what is corrected, however the file names the records."""
        return hashlib.sha256(torch.stack([self.index, self.wrong, self.right]).numpy()).hexdigest()  # type: ignore[arg-type]

    def verify(self, labels: Tensor, key: str) -> None:
        """Hold `wrong` against the labels int64 [n] that the original was trained on.

        Raises:
            DataError: they differ; the message names the config's `key` and the records.
        """
        off = (self.wrong != labels).nonzero()[:, 0].tolist()
        if off:
            shown = abbreviate([f"{self.wrong[i]} for record {self._shown(i)}, trained on as {labels[i]}" for i in off])
            raise DataError(f"{key}: expected as `wrong` the label that the original was trained on, got {shown}")


def find_corrections(path: Path, dataset: Dataset, key: str) -> Corrections:
    """What a file corrects: one record a line, in the columns `index` or `file`, `wrong` and `right`.

    JSON holds a list of objects with these keys, or an object of lists of one length; JSON lines an object a line.

    Raises:
        DataError: it cannot be read, or the data set has no record of a name in it.
    """
    return read_cached(_find, path, dataset, key)


def find_correction_problems(path: Path, dataset: Dataset, key: str) -> Iterator[Problem | str]:
    """What is wrong with corrections for that data set, as far as can be told without its labels."""
    try:
        found = find_corrections(path, dataset, key)
    except DataError as error:
        yield str(error)
        return
    yield from find_record_problems(found.records, path, dataset, key)
    for column in LABELS:
        labels: Tensor = getattr(found, column)
        outside = (labels < 0) | (labels >= dataset.classes)
        if outside.any():
            expected = f"classes from 0 to {dataset.classes - 1} as `{column}`"
            yield Problem(key, expected, found.of(labels, outside.nonzero()[:, 0].tolist()))
    same = found.wrong == found.right
    if same.any():
        yield Problem(
            key, "another class as `right` than as `wrong`", found.of(found.right, same.nonzero()[:, 0].tolist())
        )


def _find(path: Path, dataset: Dataset, key: str) -> Corrections:
    content, suffix = read_bytes(path, key)
    text = decode(content, path, key)
    try:
        records, wrong, right = _columns(TABLES.get(suffix, _table_of_csv)(text), dataset)
    except (ValueError, RecursionError) as error:
        expected = f"a CSV or JSON with the columns {' or '.join(COLUMNS)}, {' and '.join(LABELS)}"
        raise DataError(f"{key}: expected {expected}, got {error} in {path}") from error
    listed = locate(records, path, dataset, key, several=False)
    order = listed.index.argsort(stable=True)
    labels = torch.tensor([wrong, right], dtype=torch.int64)[:, order]
    return Corrections(listed.taken(order), labels[0], labels[1])


def _table_of_csv(text: str) -> Table:
    return read_table(text, LABELS)


TABLES: dict[str, Callable[[str], Table]] = {
    ".json": table_of_json,
    ".jsonl": table_of_json_lines,
    ".ndjson": table_of_json_lines,
}


def _columns(table: Table, dataset: Dataset) -> tuple[list[Record], list[int], list[int]]:
    """Records, wrong and right labels, by row.

    Raises:
        ValueError: a column is not there, or a row holds no record or no label.
    """
    places = [table.position(column) for column in LABELS]
    named = columns_of(table.columns)
    missing = [column for column, place in zip(LABELS, places, strict=True) if place is None]
    missing += [] if named else [" or ".join(COLUMNS)]
    if missing:
        there = table.columns or next((cells for _, cells in table.rows), ())
        raise ValueError(f"no column {', '.join(missing)} among {', '.join(map(repr, there[:8])) or 'none'}")
    records = table.records(LABELS)
    wrong, right = (
        [_label(cells[place or 0], column, line, dataset) for line, cells in table.cells()]
        for column, place in zip(LABELS, places, strict=True)
    )
    return records, wrong, right


def _label(text: str, column: str, line: int, dataset: Dataset) -> int:
    """The number of a class from its number or its name.

    Raises:
        ValueError: it is neither, or the name of a class that has another number.
    """
    try:
        return class_number(text, dataset)
    except ValueError as error:
        raise ValueError(f"{error} as the class `{column}` on line {line}") from error
