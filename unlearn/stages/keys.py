"""Turn a stage's fields into canonical JSON that holds everything that determines its result, code included."""

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

from unlearn.core.user_code import iter_statements, parse_without_docstrings, source_hash

# Modules left out of code hashes: shared types and helpers that determine no result by themselves, and code whose
# changes are covered by the `version` of a stage.
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
    """A dataclass that adds to its key what its fields do not hold."""

    def identity(self) -> dict[str, Any]:
        """Return entries of the key that are added to, or replace, those of the fields."""


def canonicalize(value: Any) -> Any:
    """Return the canonical JSON of a field's value: without run-time fields, with code hashes, and with stages by key.

    Raises:
        TypeError: the value has no canonical form.
    """
    if hasattr(type(value), "key"):
        return {"stage": value.key}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        return {"class": kind.__qualname__} | _code_entries(kind) | canonicalize_fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): canonicalize(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonicalize(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"no canonical form for {value!r}")


def _code_entries(kind: type) -> dict[str, str]:
    """Return the hash of a class's code; for a class of another package also one of the local modules it imports."""
    module = kind.__module__
    if module.startswith(NOT_HASHED):
        return {}
    code = {"code": code_hash(module)}
    is_ours = module.partition(".")[0] == "unlearn"
    return code if is_ours else code | {"source": source_hash(f"{module}:{kind.__name__}", "factory")}


def canonicalize_fields(value: Any) -> dict[str, Any]:
    """Return the canonical JSON of a dataclass's fields and of its `identity`.

    Run-time fields are left out, and so are later additions at their default, so that older keys stay valid.
    """
    plain = {f.name: item for f in fields(value) if not _is_left_out(f, item := getattr(value, f.name))}
    identity = value.identity() if isinstance(value, Identified) else {}
    return {name: canonicalize(item) for name, item in (plain | identity).items()}


def _is_left_out(spec: Field[Any], item: Any) -> bool:
    """Whether a field is a run-time one, or a later addition at its default."""
    return bool(spec.metadata.get("runtime")) or (bool(spec.metadata.get("added")) and item == spec.default)


@cache
def code_hash(module: str) -> str:
    """Hash the code of a module and of the modules of this package that it imports, at any depth.

    Comments and docstrings do not count. An edit of a strategy, metric, attack or model thus recomputes its own
    results and nothing else.

    Returns:
        The first 16 hexadecimal digits of SHA-256.
    """
    sources: dict[str, str] = {}
    _collect_sources(module, sources)
    text = "\n".join(f"# {name}\n{sources[name]}" for name in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect_sources(module: str, sources: dict[str, str]) -> None:
    if module in sources or module.startswith(NOT_HASHED):
        return
    sources[module], imported = _parse_module(module)
    for name in imported:
        _collect_sources(name, sources)


@cache
def _parse_module(module: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's normalised code, and the modules of this package that it imports."""
    tree = parse_without_docstrings(_read_source(module))
    imported = [node.module or "" for node in iter_statements(tree) if isinstance(node, ast.ImportFrom)]
    return ast.unparse(tree), tuple(name for name in imported if name.startswith("unlearn."))


def _read_source(module: str) -> str:
    spec = importlib.util.find_spec(module) if module not in sys.modules else sys.modules[module].__spec__
    if spec is None or spec.origin is None:
        raise TypeError(f"no source for the module {module}")
    return Path(spec.origin).read_text(encoding="utf-8")
