"""CSV files: rows with the number of their line, under the names of their columns."""

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
    """Rows of a CSV, each with the number of the line that it starts on; no row is empty.

    `columns` are the names in the header, as they are written; none if the first row holds no name that is known.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def position(self, name: str) -> int | None:
        """Where the column `name` is, whatever its case.

        Raises:
            ValueError: there are two such columns.
        """
        places = [place for place, column in enumerate(self.columns) if column.lower() == name]
        if len(places) > 1:
            raise ValueError(f"the column {name!r} twice")
        return places[0] if places else None

    def cells(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Line and cells of each row, as many as there are columns: missing cells are blank.

        Raises:
            ValueError: a row holds more than that.
        """
        for line, cells in self.rows:
            last = max(place for place, cell in enumerate(cells) if cell)
            if last >= len(self.columns):
                raise ValueError(f"{last + 1} values under {len(self.columns)} column names on line {line}")
            yield line, (*cells, *[""] * len(self.columns))[: len(self.columns)]

    def records(self, known: Collection[str] = ()) -> list[Record]:
        """What the columns `index` and `file` hold, in the order of the rows.

        Args:
            known: names of columns, in lower case, that the caller reads.

        Raises:
            ValueError: a row holds no record, or another column leaves rows out.
        """
        held = columns_of(self.columns)
        places = {kind: self.columns.index(name) for kind, name in held.items()}
        rows = list(self.cells())
        others = {
            name: [(f"line {line}", cells[place]) for line, cells in rows]
            for place, name in enumerate(self.columns)
            if place not in places.values() and name.lower() not in known
        }
        refuse_qualifiers(others)
        return [
            record(f"line {line}", **{kind: cells[place] for kind, place in places.items()}, declared=True)
            for line, cells in rows
        ]


def read_table(text: str, known: Collection[str] = ()) -> Table:
    """The table in a CSV whose delimiter is a comma, a semicolon or a tab: the first that gives a known column.

    Args:
        text: the content of the file.
        known: names of columns, in lower case, besides those that hold records.

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
    """The records of a CSV: in its columns `index` and `file`, or in its only column.

    Raises:
        ValueError: a row is not well-formed, or there are several columns and none of these.
    """
    table = read_table(text)
    if table.columns:
        return table.records()
    for line, cells in table.rows:
        if len(cells) != 1:
            shown = ", ".join(map(repr, cells[:8]))
            raise ValueError(f"the columns {shown}, none of them index or file, on line {line}")
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
