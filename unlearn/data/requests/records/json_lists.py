"""Reads records from JSON files, and from files with one JSON value per line."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from unlearn.data.requests.records.qualifiers import Cell, refuse_qualifiers, text_of
from unlearn.data.requests.records.record import Record, columns_of, record
from unlearn.data.requests.records.table import Table


class JsonObject(list[tuple[str, Any]]):
    """A JSON object that keeps the order of its keys, and keys that are repeated."""


DECODER = json.JSONDecoder(object_pairs_hook=JsonObject)


class Lines:
    """Converts positions in a text to line numbers."""

    def __init__(self, text: str) -> None:
        self.ends = [match.start() for match in re.finditer(r"\r\n|\r|\n", text)]

    def __call__(self, position: int) -> int:
        return bisect_right(self.ends, position - 1) + 1


def records_of_json(text: str) -> list[Record]:
    """Read a JSON list of records, or a list under `indices` or `files` in a JSON object.

    An item is an index, a name, or an object with the keys `index`, `file` or both. Text is a name, `"10"` too.

    Raises:
        ValueError, RecursionError: it is not such a list, a key is repeated, or a key marks records as left out.
    """
    whole = DECODER.decode(text)
    lines, kind, start = Lines(text), "", _skip(text, 0)
    if isinstance(whole, JsonObject):
        keys = list(_keys(text, start))
        _refuse_repeated([(key, lines(position)) for key, position, _ in keys])
        columns = columns_of(key for key, _, _ in keys)
        if len(columns) != 1:
            names = ", ".join(repr(key) for key, _, _ in keys[:8]) or "no keys"
            raise ValueError(f"a JSON object with {names}, where one of indices and files is needed,")
        kind, name = next(iter(columns.items()))
        _refuse_qualified_lists(whole, name)
        start, whole = next(
            (start, value) for (key, value), (_, _, start) in zip(whole, keys, strict=True) if key == name
        )
    if not isinstance(whole, list) or isinstance(whole, JsonObject):
        raise ValueError(f"a JSON {'object' if isinstance(whole, JsonObject) else type(whole).__name__}")
    numbers = (lines(position) for position in _items(text, start))
    return _records([*zip(numbers, whole, strict=True)], kind)


def records_of_json_lines(text: str) -> list[Record]:
    """Read a file with an index, a name or an object per line; empty lines are skipped.

    Raises:
        ValueError, RecursionError: a line holds something else or a second value, or a key marks records as left out.
    """
    return _records([*_values(text)], "")


def table_of_json(text: str) -> Table:
    """Read a table from a JSON list of objects, or from an object of lists of equal length.

    Raises:
        ValueError, RecursionError: it is neither, or a key is repeated.
    """
    whole, lines, start = DECODER.decode(text), Lines(text), _skip(text, 0)
    if isinstance(whole, JsonObject):
        _refuse_repeated([(key, lines(position)) for key, position, _ in _keys(text, start)])
        return _table_of_lists(dict(whole))
    if not isinstance(whole, list):
        raise ValueError(f"a JSON {type(whole).__name__}")
    return _table([(lines(position), item) for position, item in zip(_items(text, start), whole, strict=True)])


def table_of_json_lines(text: str) -> Table:
    """Read a table from a file with an object per line; empty lines are skipped.

    Raises:
        ValueError, RecursionError: a line holds something else, or a second value.
    """
    return _table(list(_values(text)))


def _table(items: list[tuple[int, Any]]) -> Table:
    """Make rows from objects with their line numbers; a missing key is a blank cell."""
    columns: dict[str, None] = {}
    for line, item in items:
        if not isinstance(item, JsonObject):
            raise ValueError(f"{item!r}, not an object, on line {line}")
        _refuse_repeated([(key, line) for key, _ in item])
        columns.update(dict.fromkeys(key for key, _ in item))
    rows = ((line, tuple(_cell(dict(item).get(name), line) for name in columns)) for line, item in items)
    return Table(tuple(columns), tuple((line, cells) for line, cells in rows if any(cells)))


def _table_of_lists(columns: dict[str, Any]) -> Table:
    if not all(isinstance(values, list) and not isinstance(values, JsonObject) for values in columns.values()):
        raise ValueError(f"a JSON object with {', '.join(map(repr, columns)) or 'no keys'}, not all of them lists,")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"lists of {', '.join(map(str, sorted(lengths)))} items in one JSON object")
    items = enumerate(zip(*columns.values(), strict=True), 1)
    rows = tuple((row, tuple(_cell(value, row) for value in values)) for row, values in items)
    for row, cells in rows:
        if not any(cells):
            raise ValueError(f"nothing but null in all lists at item {row}")
    return Table(tuple(columns), rows)


def _cell(value: Any, line: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r}, neither a number nor a name, on line {line}")
    return str(value).strip()


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line that is not empty."""
    for line, content in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if content.strip():
            try:
                yield line, DECODER.decode(content)
            except ValueError as error:
                raise ValueError(f"{error} on line {line}") from error


def _records(items: list[tuple[int, Any]], kind: str) -> list[Record]:
    """Make records from items with their line numbers; a missing key of an object is a blank cell."""
    records = [_record(item, kind, line) for line, item in items]
    objects = [(f"line {line}", dict(item)) for line, item in items if isinstance(item, JsonObject)]
    names = dict.fromkeys(name for _, values in objects for name in values if not columns_of([name]))
    refuse_qualifiers({name: [(line, text_of(values.get(name)) or "") for line, values in objects] for name in names})
    return records


def _refuse_qualified_lists(whole: JsonObject, records_key: str) -> None:
    """Refuse an object in which a key other than `records_key` selects some of the records."""
    columns: dict[str, list[Cell]] = {}
    for name, value in whole:
        values = value if isinstance(value, list) and not isinstance(value, JsonObject) else [value]
        texts = enumerate(map(text_of, values), 1)
        columns[name] = [(f"item {number}", text) for number, text in texts if text is not None]
    del columns[records_key]
    refuse_qualifiers(columns)


def _record(item: Any, kind: str, line: int) -> Record:
    """Make a record from an item; `kind` is `index` or `file` if the list around it names one, empty otherwise."""
    if not isinstance(item, JsonObject):
        return record(f"line {line}", **{kind or ("file" if isinstance(item, str) else "index"): item})
    _refuse_repeated([(key, line) for key, _ in item])
    columns, values = columns_of(key for key, _ in item), dict(item)
    if not columns:
        names = ", ".join(map(repr, values)) or "no keys"
        raise ValueError(f"an object with {names}, none of them index or file, on line {line}")
    return record(f"line {line}", **{kind: values[name] for kind, name in columns.items()})


def _refuse_repeated(keys: list[tuple[str, int]]) -> None:
    seen: set[str] = set()
    for key, line in keys:
        if key in seen:
            raise ValueError(f"the key {key!r} twice, again on line {line}")
        seen.add(key)


def _skip(text: str, position: int) -> int:
    """The position after white space, commas and colons, in JSON that is known to be well-formed."""
    while text[position] in " \t\r\n,:":
        position += 1
    return position


def _items(text: str, start: int) -> Iterator[int]:
    """Yield the positions of the items of the list that starts at `start`."""
    position = _skip(text, start + 1)
    while text[position] != "]":
        yield position
        position = _skip(text, DECODER.raw_decode(text, position)[1])


def _keys(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield each key of the object that starts at `start`, with its position and the position of its value."""
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, end = DECODER.raw_decode(text, position)
        value = _skip(text, end)
        yield key, position, value
        position = _skip(text, DECODER.raw_decode(text, value)[1])
