"""Check the types of all parts of a report, so that readers need no checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unlearn.core.terminal import escape_control

MAX_DEPTH = 50  # levels of nesting in a report
MAX_SHOWN = 60  # characters of a wrong value in a message
Check = tuple[str, Callable[[Any], bool]]  # the expected value in words, and whether a value is accepted


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_statistic(value: Any) -> bool:
    """Whether this is the entry of a number: spread, counts, interval, readings, and the metrics it averages."""
    if not isinstance(value, dict):
        return False
    interval = value.get("interval")
    is_pair = isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))
    numbers = all(_is_number_or_null(value.get(name)) for name in ("std", "n", "mean_absolute", "standard_error"))
    return numbers and (interval is None or is_pair) and _has_readings(value) and _has_over(value)


def _has_readings(statistic: dict[str, Any]) -> bool:
    """Whether the readings, if present, are a list with at least one reading."""
    readings = statistic.get("readings", [{}])
    return isinstance(readings, list) and len(readings) > 0 and all(map(_is_reading, readings))


def _has_over(statistic: dict[str, Any]) -> bool:
    """Whether `over` is a list of averaged metrics, or a text that says what an interval covers."""
    over = statistic.get("over", [])
    return isinstance(over, str) or (isinstance(over, list) and all(isinstance(name, str) for name in over))


def _is_reading(value: Any) -> bool:
    return isinstance(value, dict) and _is_number_or_null(value.get("value"))


def _are_seeds(seeds: dict[str, Any]) -> bool:
    """Whether all seeds are integers, and those of retrained models a list of integers."""
    baseline = seeds.get("baseline", [])
    single = [seed for name, seed in seeds.items() if name != "baseline"]
    return isinstance(baseline, list) and all(type(seed) is int for seed in (*single, *baseline))


def _is_description(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("title")) and _is_text(value.get("meaning"))


def _is_artifact(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("key"), str)


ENTRIES: Mapping[str, Check] = {
    "metrics": ("finite numbers or null", _is_number_or_null),
    "statistics": ("std, n, an interval of two numbers, readings, and the metrics it averages", _is_statistic),
    "notes": ("texts", _is_text),
    "artifacts": ("artifacts with keys", _is_artifact),
    "choices": ("names of options", _is_text),
    "config": ("the settings of a run", lambda value: True),
    "seeds": ("integers", lambda value: True),
    "versions": ("texts", lambda value: value is None or isinstance(value, str)),
    "hardware": ("texts and numbers", lambda value: not isinstance(value, dict | list)),
}


def find_faults(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each part that is not as expected: `key: expected X, got Y`.

    Only the first message is reliable: later checks may read parts that are wrong.
    """
    for part, (expected, accepts) in ENTRIES.items():
        entries = report[part]
        if not isinstance(entries, dict):
            yield f"{part}: expected {expected} by name, got a {type(entries).__name__}"
            continue
        wrong = next((name for name, value in entries.items() if not accepts(value)), None)
        if wrong is not None:
            yield f"{part}.{escape_control(wrong)}: expected {expected}, got {_shorten(entries[wrong])}"
    user_metrics = report.get("user_metrics", {})
    if not isinstance(user_metrics, dict) or not all(map(_is_description, user_metrics.values())):
        yield f"user_metrics: expected texts title and meaning by metric, got {_shorten(user_metrics)}"
    if isinstance(report["seeds"], dict) and not _are_seeds(report["seeds"]):
        yield "seeds: expected integers, and a list of integers for baseline, got other values"
    yield from _find_verdict_faults(report.get("verdict", {}))
    if not isinstance(report["command"], str):
        yield f"command: expected a text, got a {type(report['command']).__name__}"
    if not _is_shallow(report, MAX_DEPTH):
        yield f"expected at most {MAX_DEPTH} levels of nesting, got more"
    if all(isinstance(report[part], dict) for part in ("metrics", "statistics")):
        yield from _find_null_readings(report)


def _find_verdict_faults(verdict: Any) -> Iterator[str]:
    if not isinstance(verdict, dict):
        yield f"verdict: expected answers by question, got {_shorten(verdict)}"
        return
    for question, answer in verdict.items():
        key = f"verdict.{escape_control(question)}"
        if not isinstance(answer, dict):
            yield f"{key}: expected an answer, got {_shorten(answer)}"
        elif not isinstance(answer.get("finding", ""), str):
            yield f"{key}.finding: expected a word, got {_shorten(answer['finding'])}"


def _find_null_readings(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield numbers with a null reading: the mean would be null, too."""
    for name, number in report["metrics"].items():
        readings = report["statistics"].get(name, {}).get("readings", [])
        if number is not None and any("value" in reading and reading["value"] is None for reading in readings):
            yield f"statistics.{escape_control(name)}.readings: expected a number in each, got null"


def _shorten(value: Any) -> str:
    return escape_control(str(value))[:MAX_SHOWN]


def _is_shallow(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(child, levels - 1) for child in children)


def escape_texts(value: Any) -> Any:
    """Return the same JSON with control characters escaped in all texts and names, for printing on a terminal."""
    if isinstance(value, dict):
        return {escape_control(name): escape_texts(item) for name, item in value.items()}
    if isinstance(value, list):
        return [escape_texts(item) for item in value]
    return escape_control(value) if isinstance(value, str) else value
