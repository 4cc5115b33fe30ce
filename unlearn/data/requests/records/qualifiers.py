"""Columns that say which rows of a list are meant. A list is read whole, so rows that such a column leaves out would be
taken too: lists with such a column are refused unless it leaves none out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Cell = tuple[str, str]  # where it is ("line 3"), and its text

TRUE = {"1", "1.0", "true", "t", "yes", "y", "on"}
FALSE = {"0", "0.0", "false", "f", "no", "n", "off"}
TRAINING = {"train", "training"}
OTHER_PARTS = {"test", "testing", "val", "valid", "validation", "dev", "holdout", "eval"}
FORGET = {"forget", "unlearn", "delete", "deleted", "remove", "removed", "erase", "erased"}
RETAIN = {"retain", "retained", "keep", "kept", "remain", "remaining"}
SIDES = TRAINING | OTHER_PARTS | FORGET | RETAIN

SPLITS = {"split", "subset", "part", "partition"}
POSITIVE = FORGET | TRAINING | {"include", "included", "select", "selected"}  # true: the row is meant
NEGATIVE = RETAIN | OTHER_PARTS | {"exclude", "excluded", "ignore", "ignored", "skip", "skipped"}
FILLERS = {"is", "to", "should", "must", "do", "be", "in", "was", "not", "for"}
OF_CLASSES = {"label", "labels", "class", "classes", "target", "targets", "category", "y"}  # 0 and 1 are numbers there
COUNTS = {"", "id", "ids", "row", "unnamed", "number", "nr", "no"}
SHOWN = 4  # values in a message


def refuse_qualifiers(columns: Mapping[str, Iterable[Cell]]) -> None:
    """Refuse a column that says of rows whether they are meant, if it leaves one out [ours].

    Such a column is named so (`split`, `forget`, `keep`, ...), or holds nothing but booleans or names of parts.

    Args:
        columns: the cells of each column that names no record.

    Raises:
        ValueError: it has several values, or one that contradicts the list, as split=test or forget=0.
    """
    for name, cells in columns.items():
        first: dict[str, str] = {}  # where each value is
        for where, text in cells:
            first.setdefault(text.strip().lower(), where)
        if _leaves_out(name, set(first)):
            places = [f"{value or 'nothing'} ({where})" for value, where in [*first.items()][:SHOWN]]
            raise ValueError(
                f"the column {name!r} with {', '.join(places)}, where all rows count: "
                "leave out the rows that are not meant, then the column,"
            )


def text_of(value: Any) -> str | None:
    """A JSON value as a cell; None if it holds others."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return ""
    return str(value) if isinstance(value, int | float | str) else None


def _leaves_out(name: str, values: set[str]) -> bool:
    parts = [part for part in re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) if part]
    words, contradicting = values - {""}, _contradicting(parts)
    if not words:
        return False
    if contradicting is None:
        if not words <= _vocabulary(parts):
            return False
        contradicting = OTHER_PARTS | RETAIN
    return len(values) > 1 or bool(words & contradicting)


def _contradicting(parts: list[str]) -> set[str] | None:
    """The values that leave a row out under a name made of these words; None if the name says nothing."""
    core = [part for part in parts if part not in FILLERS]
    if len(core) != 1:
        return None
    if core[0] in SPLITS:
        return OTHER_PARTS | RETAIN
    if core[0] not in POSITIVE | NEGATIVE:
        return None
    is_positive = (core[0] in POSITIVE) is not ("not" in parts)
    return FALSE | RETAIN | OTHER_PARTS if is_positive else TRUE | RETAIN


def _vocabulary(parts: list[str]) -> set[str]:
    """The values that make a column of another name one that says which rows are meant."""
    if set(parts) <= COUNTS or set(parts) & {"id", "unnamed"}:
        return set()
    return SIDES if set(parts) & OF_CLASSES else SIDES | TRUE | FALSE
