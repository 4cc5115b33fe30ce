"""Write the runs of a sweep as CSV."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearn.report.sweep.comparison import ComparisonGroup, Row
from unlearn.report.sweep.read import Cell
from unlearn.report.sweep.settings import format_value, group_settings, row_settings

# Beginnings of column names, in the order of the columns; the empty one stands for metrics.
SECTIONS = ("scenario", "row", "strategy", "config.", "seed.", "", "key.", "version.", "hardware.", "report", "notes")


def as_csv(groups: Sequence[ComparisonGroup], into: Path) -> str:
    """Return the CSV text with one line per run.

    The columns are group and row, the settings that vary, every metric (empty for null), seeds, keys, versions,
    hardware, and the path of the report relative to the folder `into`.
    """
    settings = [group_settings(cell) | row_settings(cell) for group in groups for cell in group.cells]
    varied = {key for cell in settings for key in cell if any(other.get(key) != cell[key] for other in settings)}
    lines = [
        _line(number, row, cell, varied) | {"report": report_link(cell.path, into)}
        for number, group in enumerate(groups, 1)
        for row in group.rows
        for cell in row.cells
    ]
    names = list(dict.fromkeys(name for line in lines for name in line))
    names.sort(key=_section)  # stable: metrics stay together if the runs have different columns
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _escape_formula(value) for name, value in line.items()} for line in lines)
    return file.getvalue()


def _escape_formula(value: Any) -> Any:
    """Quote a text that a spreadsheet would compute."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _section(name: str) -> int:
    return next((n for n, start in enumerate(SECTIONS) if start and name.startswith(start)), SECTIONS.index(""))


def _line(number: int, row: Row, cell: Cell, varied: set[str]) -> dict[str, Any]:
    report = cell.report
    settings = {
        key: format_value(value) for key, value in (group_settings(cell) | row_settings(cell)).items() if key in varied
    }
    reasons = {key: reason for key, reason in report["notes"].items() if key in cell.metrics}
    return {
        "scenario": number,
        "row": row.label,
        "strategy": cell.strategy,
        **{f"config.{key}": value for key, value in settings.items()},
        **{f"seed.{name}": json.dumps(seed) for name, seed in report["seeds"].items()},
        **cell.metrics,
        "edited_parameters": report.get("edited_parameters"),
        "total_parameters": report.get("total_parameters"),
        **{f"key.{name}": artifact["key"] for name, artifact in report["artifacts"].items()},
        **{f"version.{name}": version for name, version in report["versions"].items()},
        **{f"hardware.{name}": value for name, value in report["hardware"].items()},
        "notes": "; ".join(f"{key}: {reason}" for key, reason in reasons.items()),
    }


def report_link(path: Path, into: Path) -> str:
    """Return a path relative to the folder of the summary if it lies below it, else the absolute path."""
    root = into.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)
