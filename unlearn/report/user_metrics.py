"""Titles and meanings of measurements by metrics and attacks from outside this package, as reports hold them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from unlearn.pipeline.plan import Outcome
from unlearn.report.glossary import define

KEY = "user_metrics"  # of the report


def describe_user_metrics(outcome: Outcome) -> dict[str, dict[str, dict[str, str]]]:
    """Return the entry of the report: for each measurement its `title` and its `meaning`; nothing without such metrics.

    The meaning is the first line of the docstring of the class.
    """
    entries: dict[str, dict[str, str]] = {}
    for evaluation, measurements in outcome.measurements:
        metric = evaluation.stage.metric
        if type(metric).__module__.partition(".")[0] != "unlearn":
            meaning = (inspect.getdoc(metric) or "").partition("\n")[0]
            for name in measurements:
                title = metric.titles.get(name, name.replace("_", " "))
                entries.setdefault(name, {"title": title, "meaning": meaning})
    return {KEY: entries} if entries else {}


def titles(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of a report's user-supplied measurements, by name."""
    return {name: str(entry["title"]) for name, entry in report.get(KEY, {}).items()}


def meaning(report: Mapping[str, Any], metric: str) -> str:
    """Define a measurement in one line; an empty text if nothing is known of it."""
    return str(report.get(KEY, {}).get(metric, {}).get("meaning", "")) or define(metric)
