"""Dataclass fields that know their range, so that a bad value is refused before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from unlearn.core.errors import Problem, nearest

LARGEST_INTEGER, LARGEST_FLOAT = 2**63 - 1, 3.4e38  # that tensors can hold
ADDED = {"added": True}  # metadata of a field that came later: at its default it stays out of keys, which thus stay


@dataclass(frozen=True)
class Check:
    """What a field accepts, in words and as a predicate."""

    expected: str
    accepts: Callable[[Any], bool]
    names: tuple[str, ...] = ()


def checked(default: Any, expected: str, accepts: Callable[[Any], bool], names: tuple[str, ...] = ()) -> Any:
    """A dataclass field with a range; `None` always passes where the field's type allows it."""
    return field(default=default, metadata={"check": Check(expected, accepts, names)})


def positive(default: Any) -> Any:
    """A finite number above zero."""
    return checked(default, "a number > 0", lambda v: math.isfinite(v) and v > 0)


def finite(default: Any) -> Any:
    """Any number but infinities and NaN."""
    return checked(default, "a finite number", math.isfinite)


def at_least(low: int, default: Any) -> Any:
    """A finite number of at least `low`."""
    return checked(default, f"a number >= {low}", lambda v: math.isfinite(v) and v >= low)


def in_range(low: int, high: int, default: Any) -> Any:
    """A number from `low` to `high`, both included."""
    return checked(default, f"a number from {low} to {high}", lambda v: low <= v <= high)


def share(default: Any, *, zero: bool = True) -> Any:
    """A share: from 0 (or just above it) up to, but not including, 1."""
    text = "a share in [0, 1)" if zero else "a share in (0, 1)"
    return checked(default, text, lambda v: (0 <= v < 1) and (zero or v > 0))


def fraction(default: Any) -> Any:
    """A fraction from 0 to 1, both included."""
    return checked(default, "a fraction in [0, 1]", lambda v: 0 <= v <= 1)


def one_of(*names: str) -> Any:
    """One of `names`; the first is the default."""
    return checked(names[0], "one of " + ", ".join(names), lambda v: v in names, names)


def runtime(default: Any) -> Any:
    """A field that says how something is done, not what is computed: it stays out of every key.

    `default` is a value, or another of these fields, whose range then holds.
    """
    return _marked(default, {"runtime": True})


def added(default: Any) -> Any:
    """A field that came later: at its default it stays out of keys.

    `default` is a value, or another of these fields, whose range then holds.
    """
    return _marked(default, ADDED)


def _marked(default: Any, mark: Mapping[str, Any]) -> Any:
    known = isinstance(default, Field)
    value, metadata = (default.default, default.metadata) if known else (default, {})
    return field(default=value, metadata={**metadata, **mark})


def problems(value: Any, key: str = "") -> Iterator[Problem]:
    """All problems of a config dataclass and of everything nested in it, named by dotted key.

    A class adds rules across its fields in a method `problems(key) -> Iterator[Problem]`.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from problems(item, _join(key, str(name)))
        return
    if not is_dataclass(value):
        return
    for spec in fields(value):
        item, name = getattr(value, spec.name), _join(key, spec.name)
        check: Check | None = spec.metadata.get("check")
        if check and item is not None and not check.accepts(item):
            yield Problem(name, check.expected + nearest(str(item), check.names), item)
        elif too_large := _too_large(item):
            yield Problem(name, too_large, item)
        yield from problems(item, name)
    own = getattr(type(value), "problems", None)
    if own:
        yield from own(value, key)


def _too_large(value: Any) -> str:
    """What a number, or one in a list, would have to be for torch to hold it; nothing where it can."""
    if isinstance(value, list | tuple):
        return next((said for each in value if (said := _too_large(each))), "")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return "an integer of at most 64 bits"
    if isinstance(value, float) and math.isfinite(value) and abs(value) > LARGEST_FLOAT:
        return f"a number of at most {LARGEST_FLOAT:.1e}, what 32 bits hold"
    return ""


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
