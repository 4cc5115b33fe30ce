"""From a stage's fields to plain JSON that says everything that determines its result, code included."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearn.core.user_code import statements, syntax

# Shared words and helpers, on which no result hangs alone, and what the stages' versions cover.
NOT_HASHED = tuple(
    f"unlearn.{room}"
    for room in (
        "core.types",
        "core.errors",
        "core.validation",
        "core.user_code",
        "core.random_streams",
        "core.memory",
        "core.progress",
        "core.artifact_store",
        "metrics.evidence",
        "data",
        "training",
        "stages",
    )
)


@runtime_checkable
class Identified(Protocol):
    """A dataclass that knows better than its fields what it stands for."""

    def identity(self) -> dict[str, Any]:
        """What the key holds besides the fields that are not run-time ones."""


def canonical(value: Any) -> Any:
    """Plain JSON for a field: run-time fields left out, code hashes put in, stages by their key.

    Raises:
        TypeError: a value that has no canonical form.
    """
    if hasattr(type(value), "key"):
        return {"stage": value.key}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        code = {} if kind.__module__.startswith(NOT_HASHED) else {"code": code_hash(kind.__module__)}
        return {"class": kind.__qualname__} | code | canonical_fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"no canonical form for {value!r}")


def canonical_fields(value: Any) -> dict[str, Any]:
    """Plain JSON for each field of a dataclass that is not a run-time one, nor a later one at its default, and for what
    it says of itself."""
    plain = {f.name: item for f in fields(value) if not _left_out(f, item := getattr(value, f.name))}
    own = value.identity() if isinstance(value, Identified) else {}
    return {name: canonical(item) for name, item in (plain | own).items()}


def _left_out(spec: Field[Any], item: Any) -> bool:
    """A run-time field, or one that came later and says nothing new."""
    return bool(spec.metadata.get("runtime")) or (bool(spec.metadata.get("added")) and item == spec.default)


@cache
def code_hash(module: str) -> str:
    """Hash of the syntax trees of a module and of those of this package that it imports, comments and docstrings aside.

    Editing a strategy, metric, attack or model thus recomputes what it made, and nothing else.
    """
    seen: dict[str, str] = {}
    _collect(module, seen)
    text = "\n".join(f"# {name}\n{seen[name]}" for name in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect(module: str, seen: dict[str, str]) -> None:
    if module in seen or module.startswith(NOT_HASHED):
        return
    seen[module], imported = _read(module)
    for each in imported:
        _collect(each, seen)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """A module's code, and what it imports of this package."""
    tree = syntax(_source(module))
    inner = [node.module or "" for node in statements(tree) if isinstance(node, ast.ImportFrom)]
    return ast.unparse(tree), tuple(name for name in inner if name.startswith("unlearn."))


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module) if module not in sys.modules else sys.modules[module].__spec__
    if spec is None or spec.origin is None:
        raise TypeError(f"no source for the module {module}")
    return Path(spec.origin).read_text(encoding="utf-8")
