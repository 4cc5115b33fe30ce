"""Dataclass fields with a valid range, so that a bad value is refused before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from unlearn.core.errors import Problem, nearest

MAX_INTEGER, MAX_FLOAT = 2**63 - 1, 3.4e38  # the largest numbers that int64 and float32 tensors can hold
ADDED = {"added": True}  # metadata of a field added later: at its default it stays out of keys, so old keys stay valid


@dataclass(frozen=True)
class Check:
    """The values that a field accepts: in words, as a predicate and, for a choice, as names."""

    expected: str
    accepts: Callable[[Any], bool]
    names: tuple[str, ...] = ()


def checked(default: Any, expected: str, accepts: Callable[[Any], bool], names: tuple[str, ...] = ()) -> Any:
    """Declare a dataclass field with a valid range; None is always valid where the field's type allows it.

    Args:
        default: the default value.
        expected: the valid values in words, for the message `KEY: expected ..., got ...`.
        accepts: whether a value is valid.
        names: the valid values, if they are names: the message suggests the nearest one.
    """
    return field(default=default, metadata={"check": Check(expected, accepts, names)})


def positive(default: Any) -> Any:
    """Declare a field for a finite number above zero."""
    return checked(default, "a number > 0", lambda v: math.isfinite(v) and v > 0)


def finite(default: Any) -> Any:
    """Declare a field for any number except infinities and NaN."""
    return checked(default, "a finite number", math.isfinite)


def at_least(low: int, default: Any) -> Any:
    """Declare a field for a finite number of at least `low`."""
    return checked(default, f"a number >= {low}", lambda v: math.isfinite(v) and v >= low)


def in_range(low: int, high: int, default: Any) -> Any:
    """Declare a field for a number from `low` to `high`, both included."""
    return checked(default, f"a number from {low} to {high}", lambda v: low <= v <= high)


def fraction(default: Any, *, zero: bool = True, one: bool = False) -> Any:
    """Declare a field for a number between 0 and 1.

    Args:
        default: the default value.
        zero: whether 0 itself is valid.
        one: whether 1 itself is valid.
    """
    expected = f"a fraction in {'[' if zero else '('}0, 1{']' if one else ')'}"
    return checked(default, expected, lambda v: 0 <= v <= 1 and (zero or v > 0) and (one or v < 1))


def one_of(*names: str) -> Any:
    """Declare a field for one of `names`; the first is the default."""
    return checked(names[0], "one of " + ", ".join(names), lambda v: v in names, names)


def runtime(default: Any) -> Any:
    """Declare a field that affects how a result is computed but not the result: it stays out of every key.

    Args:
        default: a value, or a field declared by another function here, to keep its range.
    """
    return _add_metadata(default, {"runtime": True})


def added(default: Any) -> Any:
    """Declare a field that was added later: at its default it stays out of keys, so that old keys stay valid.

    Args:
        default: a value, or a field declared by another function here, to keep its range.
    """
    return _add_metadata(default, ADDED)


def _add_metadata(default: Any, addition: Mapping[str, Any]) -> Any:
    value, metadata = (default.default, default.metadata) if isinstance(default, Field) else (default, {})
    return field(default=value, metadata={**metadata, **addition})


def problems(value: Any, key: str = "") -> Iterator[Problem]:
    """Find all problems of a config dataclass and of everything nested in it.

    A class adds rules that involve several fields in a method `problems(key) -> Iterator[Problem]`.

    Args:
        value: a config dataclass, a mapping of them, or any other value, which has no problems.
        key: the dotted key of `value`.
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
        elif expected := _expected_size(item):
            yield Problem(name, expected, item)
        yield from problems(item, name)
    class_rules = getattr(type(value), "problems", None)
    if class_rules:
        yield from class_rules(value, key)


def _expected_size(value: Any) -> str:
    """What is expected where a number, or one in a list, is too large for a tensor; empty where none is."""
    if isinstance(value, list | tuple):
        return next((expected for item in value if (expected := _expected_size(item))), "")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "an integer of at most 64 bits"
    if isinstance(value, float) and math.isfinite(value) and abs(value) > MAX_FLOAT:
        return f"a number of at most {MAX_FLOAT:.1e}, the range of 32 bits"
    return ""


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
