"""Specs as `meta.json` holds them: which artefacts they name, their leaves, and how two of them differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Reference = tuple[str, str]  # dotted place in the spec, key
POPULATION = "population"  # stands in every subset of a stage: a change in it is told once


class Change(NamedTuple):
    """One leaf that two specs do not share."""

    leaf: str
    old: object
    new: object

    def __str__(self) -> str:
        if _is_hash(self.old) and _is_hash(self.new):
            return f"{self.leaf}: changed"
        return f"{self.leaf}: {_shown(self.old)} -> {_shown(self.new)}"


def references(spec: Any, place: str = "") -> Iterator[Reference]:
    """The artefacts that a spec names as its inputs."""
    if _is_stage(spec):
        yield place, spec["stage"]
    else:
        for name, item in _children(spec):
            yield from references(item, _join(place, name))


def leaves(spec: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a spec by its dotted place; inputs are left to `references`."""
    children = list(_children(spec))
    if not children:
        yield place, spec
    for name, item in children:
        if not _is_stage(item):
            yield from leaves(item, _join(place, name))


def changes(old: Any, new: Any, place: str = "") -> Iterator[Change]:
    """Leaves that differ; where a class was replaced, its fields are not held against the other's."""
    if _is_stage(old) or _is_stage(new):
        return  # told by their labels, see `why`
    before, after = dict(_children(old)), dict(_children(new))
    same_class = before.get("class") == after.get("class")
    if same_class and (before or after):
        for name in dict.fromkeys((*before, *after)):
            yield from changes(before.get(name), after.get(name), _join(place, name))
    elif old != new:
        yield Change(place, _name(old), _name(new))


def distinct(found: Iterator[Change]) -> list[Change]:
    """The same change of a population in several subsets is told once, as `population.…`."""
    short = (change._replace(leaf=re.sub(rf"^.*\b({POPULATION}\.)", r"\1", change.leaf)) for change in found)
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


def _shown(value: object) -> str:
    return str(value)[:12] if _is_hash(value) else str(value)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
