"""The format of a ledger of requests: lines of JSON, each with the digest of the line before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import IO, Any

from unlearn.audit.record import SEAL, canonical_json, parse_json, read_key, schema_problems, seal
from unlearn.core.errors import UnlearnError, as_one_line, format_error

LedgerEntry = dict[str, Any]
SCHEMA_VERSION = 1
REQUEST, NOTE = "request", "note"  # values of `event`
START = "0" * 64  # `previous` of the first entry
MAX_LINE = 2**20  # bytes; an entry has about two thousand
HEAD = {"entry": int, "sha256": str}
MODEL = {"key": str, "sha256": str, "file_sha256": (str, NoneType)}
COMMON = {
    "schema_version": int,
    "entry": int,
    "time": str,
    "event": str,
    "previous": str,
    SEAL: {"sha256": str, "hmac_sha256": str},
}
SCHEMAS = {  # types of the fields of an entry, by `event`
    REQUEST: {
        "reference": (str, NoneType),
        "dataset": str,
        "forget": str,
        "strategy": str,
        "forgotten": {"count": int, "split": str, "salt": str, "hmac_sha256": str},
        "model_in": MODEL | {"lineage": (str, NoneType)},
        "model_out": MODEL,
        "verdict": {"forgotten": str, "utility": str},
        "retrained": int,
        "seconds": (int, float, NoneType),
        "report_sha256": str,
        "audit_sha256": (str, NoneType),
    },
    NOTE: {"about": int, "to": (str, NoneType), "text": str},
}


@dataclass(frozen=True)
class LedgerLine:
    """A line of a ledger.

    Attributes:
        number: from 1.
        entry: the entry; None if the line holds none.
        problem: what is wrong with the line by itself; empty if nothing is.
        is_torn: whether it lacks its line end: it was not written completely, or cut later.
    """

    number: int
    entry: LedgerEntry | None
    problem: str = ""
    is_torn: bool = False


@dataclass(frozen=True)
class Head:
    """The last entry that was written, as the file `NAME.head` records it: without it, a cut end would go unnoticed."""

    entry: int
    sha256: str


def key_file(ledger: Path) -> Path:
    """Return the path of the key of a ledger's HMACs."""
    return ledger.with_name(ledger.name + ".key")


def head_file(ledger: Path) -> Path:
    """Return the path of the file that records the last entry."""
    return ledger.with_name(ledger.name + ".head")


def read_lines(ledger: Path) -> list[LedgerLine]:
    """Read all lines of a ledger, and check each by itself.

    Raises:
        UnlearnError: the file is missing, unreadable, or not a regular file.
    """
    require_regular(ledger)
    try:
        with ledger.open("rb") as file:
            contents = enumerate(_split_lines(file), start=1)
            return [_check_line(number, content) for number, content in contents]
    except OSError as error:
        raise refuse("a readable ledger", ledger, error.strerror or str(error)) from error


def read_head(ledger: Path) -> Head | None:
    """Read the file that records the last entry; None if it is missing.

    Raises:
        UnlearnError: it cannot be read, or holds something else.
    """
    path = head_file(ledger)
    require_regular(path)
    try:
        fields = parse_json(path.read_bytes().decode())
        problem = next(schema_problems(fields, HEAD), "")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refuse("a readable file", path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        fields, problem = {}, format_error(error)
    if problem:
        raise refuse("the number and digest of the last entry", path, f"other content ({problem}); restore it")
    return Head(**fields)


def read_ledger_key(ledger: Path) -> bytes | None:
    """Read the key of a ledger's HMACs; None if it is missing.

    Raises:
        UnlearnError: it cannot be read, or is no key.
    """
    path = key_file(ledger)
    require_regular(path)
    return read_key(path) if path.exists() else None


def encode_line(entry: LedgerEntry) -> bytes:
    """Encode an entry as a line of a ledger."""
    return canonical_json(entry) + b"\n"


def parse_line(content: bytes) -> LedgerEntry:
    """Parse a line of a ledger, and compare it with its digest.

    Raises:
        ValueError: it is damaged; the text is the reason.
    """
    try:
        entry = parse_json(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError("is not JSON") from error
    except RecursionError as error:
        raise ValueError("is JSON of too many levels") from error
    event = entry.get("event") if isinstance(entry, dict) else None
    if not isinstance(event, str) or event not in SCHEMAS:
        raise ValueError("is not an entry of a ledger")
    if problem := next(schema_problems(entry, COMMON | SCHEMAS[event]), None):
        raise ValueError(f"is not an entry of a ledger: {as_one_line(problem)[:200]}")
    if entry["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"has schema version {entry['schema_version']}, expected {SCHEMA_VERSION}")
    if encode_line(entry) != content or seal(entry, None)["sha256"] != entry[SEAL]["sha256"]:
        raise ValueError("was changed after it was written: it does not match its digest")
    return dict(entry)


def require_regular(path: Path) -> None:
    """Refuse a link, a folder or a pipe in the place of a file; a missing file is no problem.

    Raises:
        UnlearnError: it is not a regular file, or its folder cannot be searched.
    """
    try:
        if path.is_symlink():
            raise refuse("a regular file", path, "a link")
        if path.exists() and not path.is_file():
            raise refuse("a regular file", path, "a folder" if path.is_dir() else "not a regular file")
    except OSError as error:
        raise refuse("a readable file", path, error.strerror or str(error)) from error


def refuse(expected: str, path: Path, got: str) -> UnlearnError:
    """Return the error for a file of a ledger."""
    return UnlearnError(f"ledger: expected {expected}, got {path}: {got}")


def _split_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines with their ends; of a line that is too long, only the beginning is kept."""
    while content := file.readline(MAX_LINE + 1):
        last = content
        while len(last) > MAX_LINE and not last.endswith(b"\n"):
            last = file.readline(MAX_LINE + 1)
        yield content


def _check_line(number: int, content: bytes) -> LedgerLine:
    if len(content) > MAX_LINE:
        return LedgerLine(number, None, f"is longer than {MAX_LINE:,} bytes")
    is_torn = not content.endswith(b"\n")
    try:
        entry, problem = parse_line(content + b"\n" * is_torn), ""
    except ValueError as error:
        entry, problem = None, str(error) or format_error(error)
    if is_torn:
        problem = "has no line end: it was not written completely, or it was cut"
    return LedgerLine(number, entry, problem, is_torn)
