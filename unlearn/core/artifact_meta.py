"""`meta.json`, the index entry of an artefact: what it holds, and whether it is still as it was written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

META = "meta.json"
DIGEST = "digest"  # the field that holds the hash of all others; entries of earlier versions have none
LARGEST = 64 * 2**20  # bytes: a meta.json holds kilobytes, and a forged one must not fill the memory
DEEPEST = 64  # levels of nested JSON: a spec has about ten, and whoever walks through one recurses
MOST = 2**63  # beyond every size and time; a larger one is no number that floats and clocks can take
SHA256 = re.compile(r"[0-9a-f]{64}")


class MetaError(ValueError):
    """A `meta.json` that is missing, unreadable, edited, or of another artefact; its text is the reason."""


def sealed(meta: dict[str, Any]) -> dict[str, Any]:
    """The entry with its digest, as it is written and read.

    Example:
        >>> sealed({"seconds": 1.5})["digest"] == digest({"seconds": 1.5})
        True
    """
    plain: dict[str, Any] = json.loads(json.dumps(meta))
    return plain | {DIGEST: digest(plain)}


def digest(meta: dict[str, Any]) -> str:
    """SHA-256, in hexadecimal, of all fields but the digest; order and layout of the file do not matter."""
    fields = {name: value for name, value in meta.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def spec_key(spec: dict[str, Any]) -> str:
    """The key of an artefact, made from its spec."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def read_meta(folder: Path) -> dict[str, Any]:
    """The index entry of the artefact in `folder`, which is named `<kind>/<key>`.

    An entry that was written before there were digests is accepted: its key, kind and spec are checked all the same.

    Raises:
        MetaError: it is not what was written there.
        PermissionError: this user may not read it.
    """
    meta = _parsed(folder / META)
    for name, (expected, fits) in FIELDS.items():
        if not fits(meta.get(name)):
            raise MetaError(f"{name}: expected {expected}, got {str(meta.get(name))[:60]!r}")
    if (meta["kind"], meta["key"]) != (folder.parent.name, folder.name):
        raise MetaError(f"it belongs to {meta['kind']}/{meta['key'][:12]}")
    if meta.get("spec") is not None and spec_key(meta["spec"]) != meta["key"]:
        raise MetaError("its spec is not the one that its key was made of")
    if DIGEST in meta and meta[DIGEST] != digest(meta):
        raise MetaError("it was edited: its digest is not that of its content")
    return meta


def file_problems(folder: Path, meta: dict[str, Any], contents: bool) -> Iterator[str]:
    """One text for each file that is not as `meta` has it: `model.safetensors: missing`.

    Sizes are always compared. With `contents` every file is hashed, and files that do not belong there are named too.
    """
    expected: dict[str, dict[str, Any]] = meta["files"]
    if contents:
        there = {path.name for path in folder.iterdir()}
        yield from (f"{name}: not one of its files" for name in sorted(there - {META, *expected}))
    for name, noted in sorted(expected.items()):
        problem = _file_problem(folder / name, noted, contents)
        if problem:
            yield f"{name}: {problem}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_problem(path: Path, noted: dict[str, Any], contents: bool) -> str:
    if not path.is_file():  # a pipe must not be opened: that would wait for a writer
        return "not a file" if path.exists() else "missing"
    size = path.stat().st_size
    if size != noted["bytes"]:
        return f"{size} bytes instead of {noted['bytes']}"
    return "altered, its SHA-256 is another" if contents and file_sha256(path) != noted["sha256"] else ""


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MetaError("not a file" if path.exists() else "missing")
    try:
        if path.stat().st_size > LARGEST:
            raise MetaError(f"expected at most {LARGEST} bytes, got {path.stat().st_size}")
        meta = json.loads(path.read_bytes())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise MetaError(f"not readable JSON ({type(error).__name__})") from error
    if not isinstance(meta, dict) or _deep(meta):
        raise MetaError(f"expected a JSON object of at most {DEEPEST} levels")
    return meta


def _deep(value: Any) -> bool:
    """Whether JSON is nested beyond `DEEPEST` levels; found without recursion."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST


def _is_file_list(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_file_entry(name, noted) for name, noted in value.items())


def _is_file_entry(name: str, noted: Any) -> bool:
    plain = name not in ("", ".", "..", META) and not set(name) & {"/", "\0"}
    known = isinstance(noted, dict) and isinstance(noted.get("bytes"), int) and isinstance(noted.get("sha256"), str)
    return plain and known and _is_number(noted["bytes"]) and SHA256.fullmatch(noted["sha256"]) is not None


def _or_nothing(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kind)


FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("a name", lambda value: isinstance(value, str)),
    "key": ("a name", lambda value: isinstance(value, str)),
    "seconds": ("a number >= 0", _is_number),
    "created": ("a number >= 0", _is_number),
    "files": ("sizes and hashes by file name", _is_file_list),
    "spec": ("an object", _or_nothing(dict)),
    "label": ("a text", _or_nothing(str)),
    "versions": ("an object", _or_nothing(dict)),
    "hardware": ("an object", _or_nothing(dict)),
}
