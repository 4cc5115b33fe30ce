"""Write the report of a stream of requests, and one page over several of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unlearn.core.errors import UnlearnError, first_line, format_error
from unlearn.report.stream.assemble import SCHEMA_VERSION
from unlearn.report.stream.lines import Report, read_lines
from unlearn.report.stream.page import render_stream
from unlearn.report.stream.table import as_csv
from unlearn.report.write import write_text

REPORT = "stream.json"


def write_stream(report: Report, folder: Path, has_page: bool) -> list[Path]:
    """Write `stream.json`, `stream.csv` and, if wanted, `stream.html`; returns their paths, the main one last.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    text = json.dumps(report, indent=1, allow_nan=False)
    return [write_text(text, folder / REPORT), *write_summary([report], folder, has_page)]


def write_summary(reports: Sequence[Report], folder: Path, has_page: bool = True) -> list[Path]:
    """Write the table and the page over some streams of equally many requests; returns their paths."""
    paths = [write_text(as_csv(reports), folder / "stream.csv")]
    if has_page:
        paths.append(write_text(render_stream(reports, read_lines(reports)), folder / "stream.html"))
    return paths


def find_streams(paths: Sequence[Path]) -> list[Path]:
    """Return the reports of streams at or below some paths."""
    lists = ([path] if path.is_file() else sorted(path.rglob(REPORT)) for path in paths)
    return list(dict.fromkeys(file.resolve() for files in lists for file in files if file.name == REPORT))


def summarise_streams(files: Sequence[Path], into: Path) -> list[Path]:
    """Summarise reports of streams in one table and one page; returns their paths, none without reports.

    Raises:
        UnlearnError: a report cannot be read, or the folder cannot be written.
    """
    reports = [_read(file) for file in files]
    try:
        return write_summary(reports, into) if reports else []
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        got = f"one with missing or contradictory parts ({format_error(error)})"
        raise UnlearnError(f"PATH: expected reports of streams as unlearn writes them, got {got}") from error


def _read(path: Path) -> Report:
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnlearnError(f"PATH: expected a report of a stream, got {path}: {first_line(error)}") from error
    if not isinstance(report, dict) or report.get("schema_version") != SCHEMA_VERSION:
        raise UnlearnError(f"PATH: expected a report of a stream with schema version {SCHEMA_VERSION}, got {path}")
    return report
