"""Check what a summary relies on beyond the schema of a report, and make its texts safe to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from unlearn.core.terminal import escape_control


def find_null_readings(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each number with a null reading: the mean would be null, too."""
    for name, number in report["metrics"].items():
        readings = report["statistics"].get(name, {}).get("readings", [])
        if number is not None and any(reading["value"] is None for reading in readings):
            yield f"statistics.{escape_control(name)}.readings: expected a number in each, got null"


def escape_texts(value: Any) -> Any:
    """Return the same JSON with control characters escaped in all texts and names, for printing on a terminal."""
    if isinstance(value, dict):
        return {escape_control(name): escape_texts(item) for name, item in value.items()}
    if isinstance(value, list):
        return [escape_texts(item) for item in value]
    return escape_control(value) if isinstance(value, str) else value
