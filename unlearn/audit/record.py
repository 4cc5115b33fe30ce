"""An audit record as a file: what it must hold, its seal, and its key."""

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
KEY_BYTES = 32  # as many as the hash has
SEAL = "seal"
MAYBE = (int, float, NoneType)
FORGOTTEN = {"dataset": dict, "count": int, "hmac_sha256": str, "split": str}
MODEL = {"role": str, "seed": int, "kind": str, "key": str, "files": dict}
READING = {
    **{"metric": str, "role": str, "seed": int, "reference_seed": (int, NoneType), "key": str},
    **{"value": MAYBE, "n": int, "standard_error": MAYBE, "interval": (list, NoneType), "reason": (str, NoneType)},
}
SHAPE = {  # of a record; `*` stands for any name
    "schema_version": int,
    "time": str,
    "command": str,
    "forgotten": FORGOTTEN,
    "strategy": dict,
    "choices": dict,
    "config": dict,
    "models": {"*": MODEL},
    "figures": {"*": {"value": MAYBE, "interval": (list, NoneType)}},
    "readings": [READING],
    "report_sha256": str,
    "versions": dict,
    "hardware": dict,
    SEAL: {"sha256": str, "hmac_sha256": str},
}


def canonical_json(value: Any) -> bytes:
    """The one spelling that is hashed: names sorted, no spaces, ASCII, numbers as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def keyed(key: bytes, value: Any) -> str:
    """HMAC-SHA256 (RFC 2104) over the canonical JSON, in hexadecimal."""
    return hmac.new(key, canonical_json(value), hashlib.sha256).hexdigest()


def keyed_indices(key: bytes, dataset: Any, indices: Iterable[int]) -> str:
    """Who was forgotten, as an HMAC over the data set and the sorted indices into its training part."""
    return keyed(key, {"dataset": dataset, "indices": sorted(indices)})


def seal(record: Record, key: bytes | None) -> dict[str, str]:
    """SHA-256 of all but the seal, which anyone can renew, and, with the key, an HMAC, which nobody else can."""
    rest = {name: value for name, value in record.items() if name != SEAL}
    found = {"sha256": hashlib.sha256(canonical_json(rest)).hexdigest()}
    return found if key is None else found | {"hmac_sha256": keyed(key, rest)}


def read(path: Path) -> Record:
    """A record from its file.

    Raises:
        UnlearnError: it is missing, damaged, or of another schema version.
    """
    try:
        text = _text(path, "utf-8")
        record = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
        version = record["schema_version"]
    except OSError as error:
        raise UnlearnError(f"FILE: expected a readable audit record, got {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(path, format_error(error)) from error
    if version != SCHEMA_VERSION:
        expected = f"an audit record of schema version {SCHEMA_VERSION}"
        raise UnlearnError(f"FILE: expected {expected}, got version {version!r} in {path}")
    wrong = next(_misshapen(record, SHAPE), None)
    if wrong:
        raise _damaged(path, wrong)
    return dict(record)


def read_key(path: Path) -> bytes:
    """The key from its file; no message repeats it.

    Raises:
        UnlearnError: it is missing, or holds something else.
    """
    try:
        text = _text(path, "ascii").strip()
    except OSError as error:
        raise UnlearnError(f"--key: expected a readable key, got {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
        raise UnlearnError(f"--key: expected {2 * KEY_BYTES} hexadecimal digits, got something else in {path}")
    return bytes.fromhex(text)


def write_new_key(path: Path) -> bytes:
    """A random key, written for its owner alone (mode 0600), whole or not at all.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    write_text(key.hex() + "\n", path, mode=0o600)
    return key


def _text(path: Path, encoding: str) -> str:
    """Of a regular file: to read a pipe would wait for ever.

    Raises:
        OSError: it is missing, unreadable, or no such file.
        UnicodeDecodeError: it is not such text.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a folder" if path.is_dir() else "not a regular file")
    return path.read_text(encoding=encoding)


def _damaged(path: Path, why: object) -> UnlearnError:
    return UnlearnError(f"FILE: expected an audit record as it was written, got a damaged {path}: {why}")


def _misshapen(value: Any, shape: Any, place: str = "") -> Iterator[str]:
    """Places that hold something of another type, or hold nothing, or that a record does not have."""
    if isinstance(shape, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _misshapen(item, shape[0], f"{place}[{number}]")
    elif isinstance(shape, dict) and isinstance(value, dict):
        expected = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
        for name in sorted(expected.keys() ^ value.keys()):
            yield f"{place}.{name}".lstrip(".") + (" is missing" if name in expected else " is none of its fields")
        for name in expected.keys() & value.keys():
            yield from _misshapen(value[name], expected[name], f"{place}.{name}".lstrip("."))
    elif isinstance(shape, list | dict) or not isinstance(value, shape) or isinstance(value, bool):
        yield f"{place} is of another type"


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name given twice would show its reader another value than the one that is checked."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name given twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text}, which is no number")
