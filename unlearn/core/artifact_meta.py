"""`meta.json`: what an artifact holds, and how to check that it is unchanged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

META = "meta.json"
DIGEST = "digest"  # the field with the hash of all other fields; files of earlier versions have none
MAX_BYTES = 64 * 2**20  # a meta.json holds kilobytes; a forged one must not fill the memory
MAX_DEPTH = 64  # levels of nested JSON: a spec has about ten, and code that walks through one recurses
MAX_NUMBER = 2**63  # above every size and time; floats and clocks cannot take a larger number
SHA256 = re.compile(r"[0-9a-f]{64}")


class MetaError(ValueError):
    """A `meta.json` that is missing, unreadable, edited, or of another artifact; its text is the reason."""


def add_digest(meta: dict[str, Any]) -> dict[str, Any]:
    """Add the digest to the content of a `meta.json`.

    Returns:
        The content as JSON returns it, with the field `digest`.

    Example:
        >>> add_digest({"seconds": 1.5})["digest"] == compute_digest({"seconds": 1.5})
        True
    """
    content: dict[str, Any] = json.loads(json.dumps(meta))
    return content | {DIGEST: compute_digest(content)}


def compute_digest(meta: dict[str, Any]) -> str:
    """SHA-256, in hexadecimal, of all fields except the digest; the order and layout of the file do not matter."""
    fields = {name: value for name, value in meta.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def spec_key(spec: dict[str, Any]) -> str:
    """The key of an artifact: the SHA-256 of its spec, in hexadecimal."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check the `meta.json` of an artifact.

    A file without a digest, written by an earlier version, is accepted: its key, kind and spec are still checked.

    Args:
        folder: the artifact's folder, `<kind>/<key>`.

    Raises:
        MetaError: the file is missing, unreadable or not as it was written.
        PermissionError: this user may not read it.
    """
    meta = _parse(folder / META)
    for name, (expected, accepts) in FIELDS.items():
        if not accepts(meta.get(name)):
            raise MetaError(f"{name}: expected {expected}, got {str(meta.get(name))[:60]!r}")
    if (meta["kind"], meta["key"]) != (folder.parent.name, folder.name):
        raise MetaError(f"it belongs to {meta['kind']}/{meta['key'][:12]}")
    if meta.get("spec") is not None and spec_key(meta["spec"]) != meta["key"]:
        raise MetaError("its spec does not match its key")
    if DIGEST in meta and meta[DIGEST] != compute_digest(meta):
        raise MetaError("it was edited: its digest does not match its content")
    return meta


def find_file_problems(folder: Path, meta: dict[str, Any], contents: bool) -> Iterator[str]:
    """Compare the files of an artifact with its `meta.json`.

    Args:
        folder: the artifact's folder.
        meta: the content of its `meta.json`.
        contents: also hash every file and report files that do not belong to the artifact; sizes are always compared.

    Yields:
        One text for each file that differs: `model.safetensors: missing`.
    """
    files: dict[str, dict[str, Any]] = meta["files"]
    if contents:
        present = {path.name for path in folder.iterdir()}
        yield from (f"{name}: not one of its files" for name in sorted(present - {META, *files}))
    for name, record in sorted(files.items()):
        problem = _find_file_problem(folder / name, record, contents)
        if problem:
            yield f"{name}: {problem}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_file_problem(path: Path, record: dict[str, Any], contents: bool) -> str:
    if not path.is_file():  # a pipe must not be opened: that would wait for a writer
        return "not a file" if path.exists() else "missing"
    size = path.stat().st_size
    if size != record["bytes"]:
        return f"expected {record['bytes']} bytes, got {size}"
    return "altered: its SHA-256 differs" if contents and file_sha256(path) != record["sha256"] else ""


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MetaError("not a file" if path.exists() else "missing")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MetaError(f"expected at most {MAX_BYTES} bytes, got {path.stat().st_size}")
        meta = json.loads(path.read_bytes())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise MetaError(f"not readable JSON ({type(error).__name__})") from error
    if not isinstance(meta, dict) or _is_too_deep(meta):
        raise MetaError(f"expected a JSON object of at most {MAX_DEPTH} levels")
    return meta


def _is_too_deep(value: Any) -> bool:
    """Whether JSON is nested deeper than `MAX_DEPTH` levels; does not recurse."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return bool(level)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER


def _is_file_list(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_file_record(name, record) for name, record in value.items())


def _is_file_record(name: str, record: Any) -> bool:
    is_plain_name = name not in ("", ".", "..", META) and not set(name) & {"/", "\0"}
    if not is_plain_name or not isinstance(record, dict):
        return False
    size, sha256 = record.get("bytes"), record.get("sha256")
    return isinstance(size, int) and _is_number(size) and isinstance(sha256, str) and bool(SHA256.fullmatch(sha256))


def _optional(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kind)


FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("a name", lambda value: isinstance(value, str)),
    "key": ("a name", lambda value: isinstance(value, str)),
    "seconds": ("a number >= 0", _is_number),
    "created": ("a number >= 0", _is_number),
    "files": ("sizes and hashes by file name", _is_file_list),
    "spec": ("an object", _optional(dict)),
    "label": ("a text", _optional(str)),
    "versions": ("an object", _optional(dict)),
    "hardware": ("an object", _optional(dict)),
}
