"""Exceptions for mistakes of the user, printed without a traceback, and helpers that format their messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One problem of a configuration: the dotted key, the expected value in words, and the value given."""

    key: str
    expected: str
    got: object

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}, got {self.got!r}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `" (nearest: NAME)"` for the most similar of `names`, or an empty text when none is similar."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (nearest: {close[0]})" if close else ""


def abbreviate(items: Sequence[object]) -> str:
    """Join the first five items with commas and count the rest: `a, b, c, d, e and 7 others`."""
    shown = ", ".join(map(str, items[:5]))
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} others"


def as_one_line(text: str) -> str:
    """Escape newlines, control characters and other characters that are not printable (`\\n`)."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def pluralize(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 problem`, `2 problems`; `plural` is for irregular nouns."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without the details below it; its type if it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def format_error(error: BaseException) -> str:
    """Format an error as type and first line: `ValueError: too few`; the type alone if it has no message."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error).strip() else name


class UnlearnError(Exception):
    """Base class of the errors that are printed as their message, without a traceback."""


class ConfigError(UnlearnError):
    """A configuration that cannot run; raised before anything is computed.

    Args:
        problems: everything that is wrong, one line of the message each.
    """

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        self.problems = [str(problem) for problem in problems]
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return ConfigError, (self.problems,)


class DataError(UnlearnError):
    """Data that are missing, unreadable or do not match the configuration."""


class StoreError(UnlearnError):
    """An artifact store that cannot be read or written, or a damaged artifact."""


class DamagedError(StoreError):
    """An artifact that differs from what was written; `rebuild_damaged=true` builds it again."""


class DivergenceError(UnlearnError):
    """Training reached a NaN or infinite loss; nothing was stored."""
