"""Reads files that correct labels of the training part."""

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
    """Records, sorted by index, with their wrong and right labels, int64 [n]."""

    records: RecordList
    wrong: Tensor
    right: Tensor

    @property
    def index(self) -> Tensor:
        """Indices int64 [n] of the records."""
        return self.records.index

    def format_labels(self, labels: Tensor, positions: list[int]) -> str:
        """Format labels at given positions, each with its record and its location in the file."""
        return abbreviate([f"{labels[i]} for record {self._format_record(i)}" for i in positions])

    def _format_record(self, position: int) -> str:
        return f"{self.records.names[position]} ({self.records.locations[position]})"

    def digest(self) -> str:
        """Hash of the corrections; it does not depend on how the file names the records."""
        return hashlib.sha256(torch.stack([self.index, self.wrong, self.right]).numpy()).hexdigest()  # type: ignore[arg-type]

    def verify(self, labels: Tensor, key: str) -> None:
        """Compare `wrong` with the labels that the original was trained on.

        Args:
            labels: int64 [n], of the records.
            key: the config key that the message names.

        Raises:
            DataError: a label differs; the message names the records.
        """
        different = (self.wrong != labels).nonzero()[:, 0].tolist()
        if different:
            got = abbreviate(
                [f"{self.wrong[i]} for record {self._format_record(i)}, trained on as {labels[i]}" for i in different]
            )
            raise DataError(f"{key}: expected as `wrong` the label that the original was trained on, got {got}")


def find_corrections(path: Path, dataset: Dataset, key: str) -> Corrections:
    """Read the corrections in a file: one record per row, with the columns `index` or `file`, `wrong` and `right`.

    JSON is a list of objects with these keys, or an object of lists of equal length; JSON lines has one object per
    line.

    Args:
        path: the file.
        dataset: the data set of the records.
        key: the config key that messages name.

    Raises:
        DataError: the file cannot be read, or names a record that the data set does not have.
    """
    return read_cached(_find, path, dataset, key)


def find_correction_problems(path: Path, dataset: Dataset, key: str) -> Iterator[Problem | str]:
    """Find the problems of a file of corrections for a data set, without the labels of the data set."""
    try:
        corrections = find_corrections(path, dataset, key)
    except DataError as error:
        yield str(error)
        return
    yield from find_record_problems(corrections.records, path, dataset, key)
    for column in LABELS:
        labels: Tensor = getattr(corrections, column)
        outside = (labels < 0) | (labels >= dataset.classes)
        if outside.any():
            expected = f"classes from 0 to {dataset.classes - 1} as `{column}`"
            yield Problem(key, expected, corrections.format_labels(labels, outside.nonzero()[:, 0].tolist()))
    same = (corrections.wrong == corrections.right).nonzero()[:, 0].tolist()
    if same:
        got = corrections.format_labels(corrections.right, same)
        yield Problem(key, "another class as `right` than as `wrong`", got)


def _find(path: Path, dataset: Dataset, key: str) -> Corrections:
    content, suffix = read_bytes(path, key)
    text = decode(content, path, key)
    try:
        records, wrong, right = _columns(TABLES.get(suffix, _table_of_csv)(text), dataset)
    except (ValueError, RecursionError) as error:
        expected = f"a CSV or JSON with the columns {' or '.join(COLUMNS)}, {' and '.join(LABELS)}"
        raise DataError(f"{key}: expected {expected}, got {error} in {path}") from error
    located = locate(records, path, dataset, key, allow_several=False)
    order = located.index.argsort(stable=True)
    labels = torch.tensor([wrong, right], dtype=torch.int64)[:, order]
    return Corrections(located.take(order), labels[0], labels[1])


def _table_of_csv(text: str) -> Table:
    return read_table(text, LABELS)


TABLES: dict[str, Callable[[str], Table]] = {
    ".json": table_of_json,
    ".jsonl": table_of_json_lines,
    ".ndjson": table_of_json_lines,
}


def _columns(table: Table, dataset: Dataset) -> tuple[list[Record], list[int], list[int]]:
    """Read the record, the wrong and the right label of each row.

    Raises:
        ValueError: a column is missing, or a row has no record or no label.
    """
    positions = [table.position(column) for column in LABELS]
    missing = [column for column, position in zip(LABELS, positions, strict=True) if position is None]
    missing += [] if columns_of(table.columns) else [" or ".join(COLUMNS)]
    if missing:
        columns = table.columns or next((cells for _, cells in table.rows), ())
        raise ValueError(f"no column {', '.join(missing)} among {', '.join(map(repr, columns[:8])) or 'none'}")
    records = table.records(LABELS)
    wrong, right = (
        [_label(cells[position or 0], column, line, dataset) for line, cells in table.cells()]
        for column, position in zip(LABELS, positions, strict=True)
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
