"""Refuses lists with a column that selects some of the rows, because every row of a list counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Cell = tuple[str, str]  # its location ("line 3"), and its text

TRUE = {"1", "1.0", "true", "t", "yes", "y", "on"}
FALSE = {"0", "0.0", "false", "f", "no", "n", "off"}
TRAINING = {"train", "training"}
OTHER_PARTS = {"test", "testing", "val", "valid", "validation", "dev", "holdout", "eval"}
FORGET = {"forget", "unlearn", "delete", "deleted", "remove", "removed", "erase", "erased"}
RETAIN = {"retain", "retained", "keep", "kept", "remain", "remaining"}
SIDES = TRAINING | OTHER_PARTS | FORGET | RETAIN

SPLITS = {"split", "subset", "part", "partition"}
POSITIVE = FORGET | TRAINING | {"include", "included", "select", "selected"}  # true selects the row
NEGATIVE = RETAIN | OTHER_PARTS | {"exclude", "excluded", "ignore", "ignored", "skip", "skipped"}
FILLERS = {"is", "to", "should", "must", "do", "be", "in", "was", "not", "for"}
OF_CLASSES = {
    "label",
    "labels",
    "class",
    "classes",
    "target",
    "targets",
    "category",
    "y",
}  # 0 and 1 are classes
COUNTS = {"", "id", "ids", "row", "unnamed", "number", "nr", "no"}
MAX_SHOWN = 4  # values in a message


def refuse_qualifiers(columns: Mapping[str, Iterable[Cell]]) -> None:
    """Refuse a column that selects some of the rows but not all [ours].

    Such a column has a name like `split`, `forget` or `keep`, or holds only booleans or names of parts.

    Args:
        columns: the cells of each column that does not name records.

    Raises:
        ValueError: such a column has several values, or one that contradicts the list, as split=test or forget=0.
    """
    for name, cells in columns.items():
        first: dict[str, str] = {}  # value -> location of the first cell with it
        for location, text in cells:
            first.setdefault(text.strip().lower(), location)
        if _excludes_rows(name, set(first)):
            values = [f"{value or 'nothing'} ({location})" for value, location in [*first.items()][:MAX_SHOWN]]
            raise ValueError(
                f"the column {name!r} with {', '.join(values)}, although all rows count: "
                "remove the rows that it leaves out, then the column,"
            )


def text_of(value: Any) -> str | None:
    """The text of a JSON value; None for a list or an object."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return ""
    return str(value) if isinstance(value, int | float | str) else None


def _excludes_rows(name: str, values: set[str]) -> bool:
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
    """The values that exclude a row in a column with these words in its name; None if the name selects nothing."""
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
    """The values by which a column with another name selects rows."""
    if set(parts) <= COUNTS or set(parts) & {"id", "unnamed"}:
        return set()
    return SIDES if set(parts) & OF_CLASSES else SIDES | TRUE | FALSE
