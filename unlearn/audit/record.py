"""The file format of an audit record: its fields, its seal and its key."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

from unlearn.core.errors import UnlearnError, format_error
from unlearn.report.write import write_text

Record = dict[str, Any]
SCHEMA_VERSION = 1
RECORD, KEY = "audit.json", "audit.key"
KEY_BYTES = 32  # as long as a SHA-256 hash
SEAL = "seal"
NUMBER_OR_NULL = (int, float, NoneType)
FORGOTTEN = {"dataset": dict, "count": int, "hmac_sha256": str, "split": str}
MODEL = {"role": str, "seed": int, "kind": str, "key": str, "files": dict}
READING = {
    "metric": str,
    "role": str,
    "seed": int,
    "reference_seed": (int, NoneType),
    "key": str,
    "value": NUMBER_OR_NULL,
    "n": int,
    "standard_error": NUMBER_OR_NULL,
    "interval": (list, NoneType),
    "reason": (str, NoneType),
}
SCHEMA = {  # types of the fields of a record; `*` stands for any name
    "schema_version": int,
    "time": str,
    "command": str,
    "forgotten": FORGOTTEN,
    "strategy": dict,
    "choices": dict,
    "config": dict,
    "models": {"*": MODEL},
    "figures": {"*": {"value": NUMBER_OR_NULL, "interval": (list, NoneType)}},
    "readings": [READING],
    "report_sha256": str,
    "versions": dict,
    "hardware": dict,
    SEAL: {"sha256": str, "hmac_sha256": str},
}


def canonical_json(value: Any) -> bytes:
    """Encode a value as the JSON that is hashed: names sorted, no spaces, ASCII, numbers as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def keyed(key: bytes, value: Any) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of the canonical JSON, in hexadecimal."""
    return hmac.new(key, canonical_json(value), hashlib.sha256).hexdigest()


def keyed_indices(key: bytes, dataset: Any, indices: Iterable[int]) -> str:
    """Return the HMAC of a forget set: over the data set and the sorted indices into its training part."""
    return keyed(key, {"dataset": dataset, "indices": sorted(indices)})


def seal(record: Record, key: bytes | None) -> dict[str, str]:
    """Compute the seal of a record over all its other fields.

    Args:
        record: the record; a seal in it is ignored.
        key: the HMAC key; None if unknown.

    Returns:
        `sha256`, which anyone can renew, and, with a key, `hmac_sha256`, which only a holder of the key can renew.
    """
    fields = {name: value for name, value in record.items() if name != SEAL}
    hashes = {"sha256": hashlib.sha256(canonical_json(fields)).hexdigest()}
    return hashes if key is None else hashes | {"hmac_sha256": keyed(key, fields)}


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        UnlearnError: the file is missing, damaged, or of another schema version.
    """
    try:
        record = parse_json(_read_text(path, "utf-8"))
        version = record["schema_version"]
    except OSError as error:
        raise UnlearnError(f"FILE: expected a readable audit record, got {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(path, format_error(error)) from error
    if version != SCHEMA_VERSION:
        expected = f"an audit record of schema version {SCHEMA_VERSION}"
        raise UnlearnError(f"FILE: expected {expected}, got version {version!r} in {path}")
    problem = next(schema_problems(record, SCHEMA), None)
    if problem:
        raise _damaged(path, problem)
    return dict(record)


def read_key(path: Path) -> bytes:
    """Read the HMAC key; error messages never contain it.

    Raises:
        UnlearnError: the file is missing, or does not contain a key.
    """
    try:
        text = _read_text(path, "ascii").strip()
    except OSError as error:
        raise UnlearnError(f"--key: expected a readable key, got {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
        raise UnlearnError(f"--key: expected {2 * KEY_BYTES} hexadecimal digits, got something else in {path}")
    return bytes.fromhex(text)


def write_new_key(path: Path, setting: str = "paths.output") -> bytes:
    """Write a random key to a file that only its owner can read (mode 0600), atomically, and return it.

    Args:
        path: the file.
        setting: what the user set to name its folder, for the error message.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    write_text(key.hex() + "\n", path, setting, mode=0o600)
    return key


def _read_text(path: Path, encoding: str) -> str:
    """Read a regular file; reading a pipe would block.

    Raises:
        OSError: the file is missing, unreadable, or not a regular file.
        UnicodeDecodeError: the file is not text in this encoding.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a folder" if path.is_dir() else "not a regular file")
    return path.read_text(encoding=encoding)


def _damaged(path: Path, reason: object) -> UnlearnError:
    return UnlearnError(f"FILE: expected an audit record as it was written, got a damaged {path}: {reason}")


def schema_problems(value: Any, schema: Any, key: str = "") -> Iterator[str]:
    """Yield the keys that are missing or unknown, and those with a value of the wrong type."""
    if isinstance(schema, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from schema_problems(item, schema[0], f"{key}[{number}]")
    elif isinstance(schema, dict) and isinstance(value, dict):
        expected = dict.fromkeys(value, schema["*"]) if "*" in schema else schema
        for name in sorted(expected.keys() ^ value.keys()):
            yield f"{key}.{name}".lstrip(".") + (" is missing" if name in expected else " is not a field")
        for name in expected.keys() & value.keys():
            yield from schema_problems(value[name], expected[name], f"{key}.{name}".lstrip("."))
    elif isinstance(schema, list | dict) or not isinstance(value, schema) or isinstance(value, bool):
        yield f"{key} has the wrong type"


def parse_json(text: str) -> Any:
    """Parse JSON; a repeated name, NaN and infinity raise ValueError."""
    return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_reject_constant)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject a repeated name: a reader could see another of its values than the one that is checked."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name that is given twice")
    return values


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text}, which is not a number")
