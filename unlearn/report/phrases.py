"""Words in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def capital(text: str) -> str:
    """As a sentence begins."""
    return text[:1].upper() + text[1:]


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
