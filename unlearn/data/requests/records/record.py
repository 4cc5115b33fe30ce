"""One record of a list: the index or the name that identifies it, and where the file lists it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

COLUMNS = {  # names of columns and of JSON keys, in lower case: what they hold
    **dict.fromkeys(("index", "indices"), "index"),
    **dict.fromkeys(("file", "files", "filename", "filenames", "path", "paths"), "file"),
}
INTEGER = r"[+-]?(0|[1-9]\d{0,17})"  # within 63 bits; 0007 is a name
DECIMAL = r"[+-]?(0|[1-9]\d{0,17})\.\d*([eE][+-]?\d{1,2})?"  # as pandas and numpy.savetxt write integers
BEYOND = 10**18


@dataclass(frozen=True)
class Record:
    """A record as a file lists it, by `index`, by the name of its `file`, or by both."""

    where: str  # in the file: "line 3"
    index: int | str | None = None  # a text that is no integer is a name
    file: str | None = None
    text: str | None = None  # of an index, where nothing but its digits says that it is one
    line: str | None = None  # the whole line of a text file, where what follows a `#` was taken for a comment

    @property
    def name(self) -> str:
        """What the file calls it."""
        return str(self.file if self.index is None else self.index)


def record(where: str, index: Any = "", file: Any = "", declared: bool = False) -> Record:
    """A record from the values that a file gives, each of which may be blank.

    Args:
        declared: whether the file says that `index` is one, so that no text there is doubtful.

    Raises:
        ValueError: both are blank, or a value is neither an integer nor text.
    """
    if blank(index) and blank(file):
        raise ValueError(f"no record on {where}")
    try:
        found = Record(where, None if blank(index) else identity(index), None if blank(file) else file_name(file))
    except ValueError as error:
        raise ValueError(f"{error} on {where}") from error
    doubtful = isinstance(index, str) and isinstance(found.index, int) and not declared
    return replace(found, text=index.strip()) if doubtful else found


def identity(item: Any) -> int | str:
    """An index where the item is an integer, however it is written; any other text is a name.

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
    """A name; the name of a file that consists of digits stays a name.

    Raises:
        ValueError: it is neither text nor an integer.
    """
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise ValueError(f"{item!r}, not the name of a file,")
    return str(item).strip()


def whole_number(item: Any) -> int | None:
    """The integer that a number or a text stands for: 7, "7", "7.0" or "7.000e+00"; None if it is something else."""
    if isinstance(item, bool):
        return None
    text = str(item).strip() if isinstance(item, int | float | str) else ""
    if re.fullmatch(INTEGER, text, re.ASCII):
        return int(text)
    if not re.fullmatch(DECIMAL, text, re.ASCII):
        return None
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() and abs(value) < BEYOND else None


def blank(item: Any) -> bool:
    """Whether a cell is empty, or null in JSON."""
    return item is None or (isinstance(item, str) and not item.strip())


def columns_of(names: Iterable[str]) -> dict[str, str]:
    """Which of the given columns or keys holds `index` and which holds `file`.

    Raises:
        ValueError: two of them hold the same.
    """
    held: dict[str, str] = {}
    for name in names:
        kind = COLUMNS.get(name.strip(" #").lower())
        if kind in held:
            raise ValueError(f"both {held[kind]!r} and {name!r}, where one column gives the {kind},")
        if kind:
            held[kind] = name
    return held
