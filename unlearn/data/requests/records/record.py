"""One record of a list: the index or the name that identifies it, and its location in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

COLUMNS = {  # names of columns and JSON keys in lower case -> their content
    **dict.fromkeys(("index", "indices"), "index"),
    **dict.fromkeys(("file", "files", "filename", "filenames", "path", "paths"), "file"),
}
INTEGER = r"[+-]?(0|[1-9]\d{0,17})"  # within 63 bits; 0007 is a name
DECIMAL = r"[+-]?(0|[1-9]\d{0,17})\.\d*([eE][+-]?\d{1,2})?"  # as pandas and numpy.savetxt write integers
TOO_LARGE = 10**18


@dataclass(frozen=True)
class Record:
    """A record in a list, identified by `index`, by the name of its `file`, or by both."""

    location: str  # in the list: "line 3"
    index: int | str | None = None  # text that is not an integer is a name
    file: str | None = None
    text: str | None = None  # of an index that could also be a name of digits
    line: str | None = None  # the whole line of a text file with a comment, since a name can contain `#`

    @property
    def name(self) -> str:
        """The name or the index in the list."""
        return str(self.file if self.index is None else self.index)


def record(location: str, index: Any = "", file: Any = "", declared: bool = False) -> Record:
    """Make a record from the values in a list.

    Args:
        location: where the list has it ("line 3").
        index: an index or a name; may be blank.
        file: the name of a file; may be blank.
        declared: whether `index` comes from a column of that name, so that digits are an index and not a name.

    Raises:
        ValueError: both are blank, or a value is neither an integer nor text.
    """
    if is_blank(index) and is_blank(file):
        raise ValueError(f"no record on {location}")
    try:
        item = Record(
            location, None if is_blank(index) else parse_index(index), None if is_blank(file) else file_name(file)
        )
    except ValueError as error:
        raise ValueError(f"{error} on {location}") from error
    is_ambiguous = isinstance(index, str) and isinstance(item.index, int) and not declared
    return replace(item, text=index.strip()) if is_ambiguous else item


def parse_index(item: Any) -> int | str:
    """Return an integer as an index, in any notation, and other text as a name.

    Raises:
        ValueError: it is neither an integer nor text.
    """
    number = whole_number(item)
    if number is not None:
        return number
    if not isinstance(item, str):
        raise ValueError(f"{item!r}, neither an index nor the name of a file,")
    return item.strip()


def file_name(item: Any) -> str:
    """Return the name of a file; digits are a name too.

    Raises:
        ValueError: it is neither text nor an integer.
    """
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise ValueError(f"{item!r}, not the name of a file,")
    return str(item).strip()


def whole_number(item: Any) -> int | None:
    """Parse an integer in any notation: 7, "7", "7.0" or "7.000e+00"; None if it is something else."""
    if isinstance(item, bool):
        return None
    text = str(item).strip() if isinstance(item, int | float | str) else ""
    if re.fullmatch(INTEGER, text, re.ASCII):
        return int(text)
    if not re.fullmatch(DECIMAL, text, re.ASCII):
        return None
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() and abs(value) < TOO_LARGE else None


def is_blank(item: Any) -> bool:
    """Whether a cell is empty, or null in JSON."""
    return item is None or (isinstance(item, str) and not item.strip())


def columns_of(names: Iterable[str]) -> dict[str, str]:
    """Find the columns or keys that hold `index` and `file`.

    Args:
        names: the names of all columns or keys.

    Returns:
        The name of the column for `index`, for `file`, or both.

    Raises:
        ValueError: two columns hold the same.
    """
    columns: dict[str, str] = {}
    for name in names:
        kind = COLUMNS.get(name.strip(" #").lower())
        if kind in columns:
            raise ValueError(f"both {columns[kind]!r} and {name!r}, but only one column can be the {kind},")
        if kind:
            columns[kind] = name
    return columns
