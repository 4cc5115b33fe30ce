"""Reads files that list records: deletion requests, and the training data of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unlearn.core.errors import DataError
from unlearn.data.datasets.folder import SUFFIXES
from unlearn.data.requests.records.arrays import records_of_npy, records_of_torch
from unlearn.data.requests.records.content import decode, read_bytes
from unlearn.data.requests.records.json_lists import records_of_json, records_of_json_lines
from unlearn.data.requests.records.names import WILD
from unlearn.data.requests.records.record import Record, record
from unlearn.data.requests.records.table import records_of_csv

QUOTED = r"""("([^"]+)"|'([^']+)')\s*(#.*)?"""


def names_records(path: Path) -> bool:
    """Whether a path names records and not a list of them: a folder, a pattern, or an image."""
    is_pattern = any(sign in str(path) for sign in WILD) and not path.exists()
    return is_pattern or path.is_dir() or path.suffix.lower() in SUFFIXES


def read_records(path: Path, key: str) -> list[Record]:
    """Read the records in a file, in its order, each by index, by name, or by both.

    - Text: one per line; `#` starts a comment, and quotes around a line make it a name.
    - CSV: the columns `index` and `file` (or `filename`, `path`), or the only column.
    - JSON: a list, or a list under `indices` or `files`; an item may be an object, and text is a name.
    - `.npy`, `.pt`: a vector of integers, or of names in `.npy`.

    All may be compressed (`.gz`). A folder of images, a pattern (`photos/train/cat/*`) and an image name their records
    themselves.

    Args:
        path: the file, folder, pattern or image.
        key: the config key that messages name.

    Raises:
        DataError: the file is missing, or holds something else; the message names the line.
    """
    if names_records(path):
        return [Record("the request itself", file=f"{path}/" if path.is_dir() else str(path))]
    content, suffix = read_bytes(path, key)
    try:
        if suffix in ARRAYS:
            return ARRAYS[suffix](content)
        return TEXTS.get(suffix, records_of_lines)(decode(content, path, key))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{key}: expected a list of records, got {error} in {path}") from error


def records_of_lines(text: str) -> list[Record]:
    """Read text with one record per line.

    Raises:
        ValueError: a line that starts with a quote does not end with it.
    """
    lines = enumerate(map(str.strip, re.split(r"\r\n|\r|\n", text)), 1)
    return [item for number, line in lines if (item := _record_of_line(line, number))]


def _record_of_line(line: str, number: int) -> Record | None:
    if quoted := re.fullmatch(QUOTED, line):
        return record(f"line {number}", file=quoted[2] or quoted[3])
    if line.startswith('"'):
        raise ValueError(f"{line!r}, not one name in quotes, on line {number}")
    text = re.split(r"(?:^|\s)#", line)[0].strip()
    if not text:
        return None
    item = record(f"line {number}", text)
    return item if text == line else replace(item, line=line)


TEXTS: dict[str, Callable[[str], list[Record]]] = {
    ".csv": records_of_csv,
    ".tsv": records_of_csv,
    ".json": records_of_json,
    ".jsonl": records_of_json_lines,
    ".ndjson": records_of_json_lines,
}
ARRAYS: dict[str, Callable[[bytes], list[Record]]] = {
    ".npy": records_of_npy,
    ".pt": records_of_torch,
    ".pth": records_of_torch,
}
