"""Reads CSV files as rows with line numbers and column names."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from unlearn.data.requests.records.qualifiers import refuse_qualifiers
from unlearn.data.requests.records.record import COLUMNS, Record, columns_of, record

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Table:
    """The rows of a CSV, each with the number of its first line; no row is empty.

    `columns` are the names in the header; empty if the first row holds no known name.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def position(self, name: str) -> int | None:
        """The position of the column `name`, in any case; None if there is none.

        Raises:
            ValueError: there are two such columns.
        """
        positions = [position for position, column in enumerate(self.columns) if column.lower() == name]
        if len(positions) > 1:
            raise ValueError(f"the column {name!r} twice")
        return positions[0] if positions else None

    def cells(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield the line and the cells of each row, one for each column; missing cells are blank.

        Raises:
            ValueError: a row has more cells than there are columns.
        """
        for line, cells in self.rows:
            last = max(position for position, cell in enumerate(cells) if cell)
            if last >= len(self.columns):
                raise ValueError(f"{last + 1} values under {len(self.columns)} column names on line {line}")
            yield line, (*cells, *[""] * len(self.columns))[: len(self.columns)]

    def records(self, known: Collection[str] = ()) -> list[Record]:
        """Read the columns `index` and `file`, in the order of the rows.

        Args:
            known: names of columns, in lower case, that the caller reads.

        Raises:
            ValueError: a row has no record, or another column excludes rows.
        """
        positions = {kind: self.columns.index(name) for kind, name in columns_of(self.columns).items()}
        rows = list(self.cells())
        others = {
            name: [(f"line {line}", cells[position]) for line, cells in rows]
            for position, name in enumerate(self.columns)
            if position not in positions.values() and name.lower() not in known
        }
        refuse_qualifiers(others)
        return [
            record(f"line {line}", **{kind: cells[position] for kind, position in positions.items()}, declared=True)
            for line, cells in rows
        ]


def read_table(text: str, known: Collection[str] = ()) -> Table:
    """Read a CSV. The delimiter is the first of comma, semicolon and tab that gives a known column.

    Args:
        text: the content of the file.
        known: names of columns, in lower case, in addition to those of records.

    Raises:
        ValueError: a row is not well-formed.
    """
    names = {*COLUMNS, *known}
    for delimiter in DELIMITERS:
        _, first = next(_rows(text, delimiter), (0, ()))
        if any(cell.strip(" #").lower() in names for cell in first):
            (_, header), *rows = _rows(text, delimiter)
            return Table(header, tuple(rows))
    return Table((), tuple(_rows(text, ",")))


def records_of_csv(text: str) -> list[Record]:
    """Read records from the columns `index` and `file` of a CSV, or from its only column.

    Raises:
        ValueError: a row is not well-formed, or there are several columns and none of them is `index` or `file`.
    """
    table = read_table(text)
    if table.columns:
        return table.records()
    for line, cells in table.rows:
        if len(cells) != 1:
            names = ", ".join(map(repr, cells[:8]))
            raise ValueError(f"the columns {names}, none of them index or file, on line {line}")
    return [record(f"line {line}", cell) for line, (cell,) in table.rows]


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            cause = "a quote that is not closed" if str(error) == "unexpected end of data" else f"a bad row ({error})"
            raise ValueError(f"{cause} on line {line}") from error
        if row is None:
            return
        cells = tuple(cell.strip() for cell in row)
        if any(cells):
            yield line, cells
