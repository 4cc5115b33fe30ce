"""Sentence about copies of forgotten images that are still in the data."""

from __future__ import annotations

from typing import Any

from unlearn.core.errors import abbreviate, pluralize

COMPARED = {"pixels": "same pixels", "files": "same bytes"}


def describe_copies(copies: dict[str, Any] | None) -> str:
    """Name the copies of forgotten images that remain, by subset.

    Args:
        copies: `copies` of a report; None if the run did not look for copies.

    Returns:
        One line; empty if no copy remains.
    """
    if not copies or not copies["remain"]:
        return ""
    names = "; ".join(f"{subset}: {abbreviate(records)}" for subset, records in copies["remain"].items())
    count = pluralize(copies["forgotten"], "forgotten image")
    return f"copies of {count} remain ({COMPARED[copies['compared']]}): {names}"
