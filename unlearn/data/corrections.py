"""Files that correct labels of records of the training part."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.data.records import COLUMNS, locate, read_text, record, record_problems, remembered
from unlearn.errors import DataError, Problem, some

LABELS = ("wrong", "right")  # columns of class numbers from 0


@dataclass(frozen=True)
class Corrections:
    """Records and their labels int64 [n], sorted by index; `named` is what the file calls each record."""

    index: Tensor
    wrong: Tensor
    right: Tensor
    named: tuple[str, ...]

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
            came = some([f"{self.wrong[i]} for record {self.named[i]} (trained on as {labels[i]})" for i in off])
            raise DataError(f"{key}: expected as `wrong` the label that the original was trained on, came {came}")


def find_corrections(path: Path, dataset: Dataset, key: str) -> Corrections:
    """What a CSV corrects: one record a line, in the columns `index` or `file`, `wrong` and `right`.

    Raises:
        DataError: it cannot be read, or the data set has no record of a name in it.
    """
    return remembered(_find, path, dataset, key)


def correction_problems(path: Path, dataset: Dataset, key: str) -> Iterator[Problem | str]:
    """What is wrong with corrections for that data set, as far as can be told without its labels."""
    try:
        found = find_corrections(path, dataset, key)
    except DataError as error:
        yield str(error)
        return
    yield from record_problems(found.index, path, dataset, key)
    for column in LABELS:
        labels: Tensor = getattr(found, column)
        outside = (labels < 0) | (labels >= dataset.classes)
        if outside.any():
            expected = f"classes from 0 to {dataset.classes - 1} as `{column}`"
            yield Problem(key, expected, _told(found, labels, outside))
    same = found.wrong == found.right
    if same.any():
        yield Problem(key, "another class as `right` than as `wrong`", _told(found, found.right, same))


def _told(found: Corrections, labels: Tensor, which: Tensor) -> str:
    return some([f"{labels[i]} for record {found.named[i]}" for i in which.nonzero()[:, 0].tolist()])


def _find(path: Path, dataset: Dataset, key: str) -> Corrections:
    text = read_text(path, key)
    try:
        rows = list(_rows(text))
    except (ValueError, csv.Error) as error:
        expected = f"a CSV with the columns {' or '.join(COLUMNS)}, {' and '.join(LABELS)}"
        raise DataError(f"{key}: expected {expected}, came {error} in {path}") from error
    index = locate([name for name, _, _ in rows], path, dataset, key)
    order = index.argsort(stable=True)
    labels = torch.tensor([pair for _, *pair in rows], dtype=torch.int64).reshape(-1, 2)[order]
    return Corrections(index[order], labels[:, 0], labels[:, 1], tuple(str(rows[i][0]) for i in order.tolist()))


def _rows(text: str) -> Iterator[tuple[int | str, int, int]]:
    """Record, wrong and right label of each line."""
    lines = [line for line in csv.reader(text.splitlines()) if line]
    columns = [column.strip() for column in lines[0]] if lines else []
    named = [column for column in COLUMNS if column in columns]
    missing = [*(column for column in LABELS if column not in columns), *([] if named else [" or ".join(COLUMNS)])]
    if missing:
        raise ValueError(f"none that is called {', '.join(missing)},")
    for line in lines[1:]:
        cells = dict(zip(columns, line, strict=False))
        listed = record(cells.get(named[0], ""))
        wrong, right = (_label(cells.get(column, ""), column, listed) for column in LABELS)
        yield listed, wrong, right


def _label(text: str, column: str, listed: int | str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,9}", text.strip()):
        raise ValueError(f"{text!r} as the class number `{column}` of record {listed}")
    return int(text)
