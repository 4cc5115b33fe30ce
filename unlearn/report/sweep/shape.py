"""Whether a JSON file is a report: what every part of it has to be, so that readers need no checks of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unlearn.core.progress import escape_control

DEEPEST = 50  # levels of a report
Check = tuple[str, Callable[[Any], bool]]


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _number_or_null(value: Any) -> bool:
    return value is None or _number(value)


def _of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _statistic(value: Any) -> bool:
    """Spread, count and interval of a number, what it is read off or averages."""
    if not isinstance(value, dict):
        return False
    interval = value.get("interval")
    pair = isinstance(interval, list) and len(interval) == 2 and all(map(_number, interval))
    numbers = all(_number_or_null(value.get(name)) for name in ("std", "n", "mean_absolute", "standard_error"))
    return numbers and (interval is None or pair) and _readings(value) and _over(value)


def _readings(statistic: dict[str, Any]) -> bool:
    """One or more where there are any: a number comes from somewhere."""
    evaluations = statistic.get("readings", [{}])
    return isinstance(evaluations, list) and len(evaluations) > 0 and all(map(_reading, evaluations))


def _over(statistic: dict[str, Any]) -> bool:
    """What an average is over, by name; or in words what an interval is over."""
    over = statistic.get("over", [])
    return isinstance(over, str) or (isinstance(over, list) and all(isinstance(name, str) for name in over))


def _reading(value: Any) -> bool:
    return isinstance(value, dict) and _number_or_null(value.get("value"))


def _seeds(seeds: dict[str, Any]) -> bool:
    """Numbers, but for the list of the retrained models'."""
    baseline = seeds.get("baseline", [])
    alone = [seed for name, seed in seeds.items() if name != "baseline"]
    return isinstance(baseline, list) and all(type(seed) is int for seed in (*alone, *baseline))


def _artifact(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("key"), str)


ENTRIES: Mapping[str, Check] = {
    "metrics": ("finite numbers or null", _number_or_null),
    "statistics": ("std, n, an interval of two numbers, evaluations and what it averages", _statistic),
    "notes": ("texts", _of(str)),
    "artifacts": ("artefacts with their keys", _artifact),
    "choices": ("names of options", _of(str)),
    "config": ("the settings of a run", lambda value: True),
    "seeds": ("integers", lambda value: True),
    "versions": ("texts", lambda value: value is None or isinstance(value, str)),
    "hardware": ("texts and numbers", lambda value: not isinstance(value, dict | list)),
}


def _verdict_faults(verdict: Any) -> Iterator[str]:
    """Of the answers of a run, of which the words are counted."""
    if not isinstance(verdict, dict):
        yield f"verdict: expected answers by question, got {escape_control(str(verdict))[:60]}"
        return
    for question, answer in verdict.items():
        place = f"verdict.{escape_control(question)}"
        if not isinstance(answer, dict):
            yield f"{place}: expected an answer, got {escape_control(str(answer))[:60]}"
        elif not isinstance(answer.get("finding", ""), str):
            yield f"{place}.finding: expected a word, got {escape_control(str(answer['finding']))[:60]}"


def _unread(report: Mapping[str, Any]) -> Iterator[str]:
    """Numbers of which a reading is null: their mean would be, too."""
    for name, number in report["metrics"].items():
        evaluations = report["statistics"].get(name, {}).get("readings", [])
        if number is not None and any("value" in each and each["value"] is None for each in evaluations):
            yield f"statistics.{escape_control(name)}.evaluations: expected a number in each, got null"


def faults(report: Mapping[str, Any]) -> Iterator[str]:
    """What of a report is not what it has to be: the part, what was expected, what it got. The first counts: later
    ones ask of parts that may be wrong."""
    for part, (expected, accepts) in ENTRIES.items():
        entries = report[part]
        if not isinstance(entries, dict):
            yield f"{part}: expected {expected} by name, got a {type(entries).__name__}"
            continue
        wrong = next((name for name, value in entries.items() if not accepts(value)), None)
        if wrong is not None:
            yield f"{part}.{escape_control(wrong)}: expected {expected}, got {escape_control(str(entries[wrong]))[:60]}"
    if isinstance(report["seeds"], dict) and not _seeds(report["seeds"]):
        yield "seeds: expected an integer for each, and a list of them for baseline, got others"
    yield from _verdict_faults(report.get("verdict", {}))
    if not isinstance(report["command"], str):
        yield f"command: expected a text, got a {type(report['command']).__name__}"
    if not _shallow(report, DEEPEST):
        yield f"expected at most {DEEPEST} levels, got more"
    if all(isinstance(report[part], dict) for part in ("metrics", "statistics")):
        yield from _unread(report)


def _shallow(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left > 0 and all(_shallow(each, left - 1) for each in inner)


def disarmed(value: Any) -> Any:
    """The same JSON in which no text, and no name, moves a terminal's cursor."""
    if isinstance(value, dict):
        return {escape_control(name): disarmed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [disarmed(item) for item in value]
    return escape_control(value) if isinstance(value, str) else value
