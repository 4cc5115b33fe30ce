"""Reads the specs in `meta.json`: the artifacts that they name, their values, and the differences of two specs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Reference = tuple[str, str]  # dotted path in the spec, key
POPULATION = "population"  # in every subset of a stage: a change in it is reported once


class Change(NamedTuple):
    """A value that differs between two specs."""

    leaf: str
    old: object
    new: object

    def __str__(self) -> str:
        if _is_hash(self.old) and _is_hash(self.new):
            return f"{self.leaf}: changed"
        return f"{self.leaf}: {_abbreviate(self.old)} -> {_abbreviate(self.new)}"


def references(spec: Any, path: str = "") -> Iterator[Reference]:
    """Yield the artifacts that a spec names as its inputs."""
    if _is_stage(spec):
        yield path, spec["stage"]
    else:
        for name, item in _children(spec):
            yield from references(item, _join(path, name))


def leaves(spec: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a spec with its dotted path, without the inputs, which `references` yields."""
    children = list(_children(spec))
    if not children:
        yield path, spec
    for name, item in children:
        if not _is_stage(item):
            yield from leaves(item, _join(path, name))


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """Yield the values that differ; if the classes differ, their fields are not compared."""
    if _is_stage(old) or _is_stage(new):
        return  # `explain_stages` reports inputs by their labels
    before, after = dict(_children(old)), dict(_children(new))
    same_class = before.get("class") == after.get("class")
    if same_class and (before or after):
        for name in dict.fromkeys((*before, *after)):
            yield from changes(before.get(name), after.get(name), _join(path, name))
    elif old != new:
        yield Change(path, _name(old), _name(new))


def distinct(all_changes: Iterator[Change]) -> list[Change]:
    """Merge equal changes of the population in several subsets into one, `population.…`."""
    short = (change._replace(leaf=re.sub(rf"^.*\b({POPULATION}\.)", r"\1", change.leaf)) for change in all_changes)
    return list({str(change): change for change in short}.values())


def _children(spec: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(spec, dict):
        yield from spec.items()
    elif isinstance(spec, list) and any(isinstance(item, dict) for item in spec):
        yield from ((str(number), item) for number, item in enumerate(spec))


def _is_stage(spec: Any) -> bool:
    return isinstance(spec, dict) and spec.keys() == {"stage"} and isinstance(spec["stage"], str)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,64}", value) is not None


def _name(value: Any) -> Any:
    return value.get("class", value) if isinstance(value, dict) else value


def _abbreviate(value: object) -> str:
    return str(value)[:12] if _is_hash(value) else str(value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
