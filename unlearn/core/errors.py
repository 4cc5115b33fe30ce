"""Every mistake a user can make ends in one of these: a clear message, a non-zero exit, nothing lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong with a configuration: the dotted key, what was expected, what was given."""

    key: str
    expected: str
    got: object

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}, got {self.got!r}"


def nearest(name: str, names: Iterable[str]) -> str:
    """`" (nearest: …)"` for the closest of `names`, or nothing when none is close."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (nearest: {close[0]})" if close else ""


def some(items: Sequence[object]) -> str:
    """The first few, and how many others there are."""
    shown = ", ".join(map(str, items[:5]))
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} others"


def as_one_line(text: str) -> str:
    """The text with escapes for what would break or steer a terminal: newlines, control characters, no Unicode."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 problem`, `2 problems`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def first_line(error: BaseException) -> str:
    """What a library's error says, without the details below."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def format_error(error: BaseException) -> str:
    """`ValueError: too few`; the type alone of an error that says nothing."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error).strip() else name


class UnlearnError(Exception):
    """Base of all of them; printed as its message, without a traceback."""


class ConfigError(UnlearnError):
    """A configuration that cannot run, refused before anything is computed."""

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        self.problems = [str(problem) for problem in problems]
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return ConfigError, (self.problems,)


class DataError(UnlearnError):
    """Data that is missing, unreadable or not what was asked for."""


class StoreError(UnlearnError):
    """An artefact store that cannot be read or written, or a damaged artefact."""


class DamagedError(StoreError):
    """An artefact that is not as it was written; `rebuild_damaged=true` builds it again."""


class DivergenceError(UnlearnError):
    """Training met a NaN or an infinite loss; nothing was stored."""
