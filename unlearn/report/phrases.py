"""Helpers that build sentences."""

from __future__ import annotations

from collections.abc import Sequence


def capitalize(text: str) -> str:
    """Return the text with a capital first letter; `str.capitalize` would also change the other letters."""
    return text[:1].upper() + text[1:]


def join_words(words: Sequence[str], conjunction: str = "and") -> str:
    """Join words to `a, b and c`."""
    return f" {conjunction} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
