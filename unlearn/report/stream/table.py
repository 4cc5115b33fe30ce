"""Show the end of a stream of requests as a table and in sentences, and all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from unlearn.core.errors import pluralize
from unlearn.core.terminal import escape_control
from unlearn.report.stream.lines import (
    ATTACK,
    DISTANCE,
    DRIFT,
    EARLIER,
    EARLIER_ATTACK,
    FORGET,
    GAP,
    SECONDS,
    TEST,
    Report,
    StreamLine,
    StreamMeasure,
)
from unlearn.report.sweep.compare import format_spread

COLUMNS = (GAP, FORGET, EARLIER, ATTACK, EARLIER_ATTACK, TEST, SECONDS, DRIFT, DISTANCE)
NARROW = "\u00a0"  # keeps a number and its unit on one line
ON_TERMINAL = (GAP, EARLIER, ATTACK, TEST, SECONDS, DRIFT)


def format_cell(line: StreamLine, measure: StreamMeasure) -> str:
    """Format what a line ends with; empty if it was not measured."""
    return format_spread(line.spread(measure), "seconds" if measure is SECONDS else "")


def measured(lines: Sequence[StreamLine], columns: Sequence[StreamMeasure] = COLUMNS) -> list[StreamMeasure]:
    """Return the columns that have a value."""
    return [measure for measure in columns if any(line.spread(measure) for line in lines)]


def describe_requests(report: Report) -> str:
    """`20 requests for 200 of 1,347 images`"""
    records = sum(request["records"] for request in report["requests"])
    return f"{pluralize(len(report['requests']), 'request')} for {records:,} of {report['members']:,} images"


def summaries(lines: Sequence[StreamLine]) -> Iterator[str]:
    """Yield a sentence for every policy: how far from retraining it ends, and at what cost."""
    retrained = next(line for line in lines if line.label == "retrained")
    floor, retraining = retrained.spread(GAP), retrained.spread(SECONDS)
    for line in lines:
        seconds = line.spread(SECONDS)
        if line.is_reference or seconds is None or retraining is None:
            continue
        first, last = line.spread(GAP, 0), line.spread(GAP)
        gap = f"average gap {format_spread(last)}" if last else "no average gap"
        after = f" ({format_spread(first)} after the first request)" if first and last else ""
        noise = f", noise floor {format_spread(floor)}" if floor else ""
        spent, compared = (format_spread(spread, "seconds").replace(" ", NARROW) for spread in (seconds, retraining))
        cost = f"{spent}{NARROW}s; retraining at each request {compared}{NARROW}s"
        waiting = max(entry["waiting"] for entry in line.entries[-1])
        waits = f"; {pluralize(waiting, 'request')} not answered yet" if waiting else ""
        yield f"{line.label}: {gap}{after}{noise}; {cost}{waits}."


def print_stream(report: Report, lines: Sequence[StreamLine], stream: TextIO) -> None:
    """Print the end of a stream: a table with a row for every policy, the sentences, and the notes."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 100)
    columns, table = measured(lines, ON_TERMINAL), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for measure in columns:
        table.add_column(measure.title, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(escape_control(line.label), *(format_cell(line, measure).replace(" ", "") for measure in columns))
    console.print(f"After {describe_requests(report)}:")
    console.print(table)
    for sentence in (*summaries(lines), *report["notes"]):
        console.print(escape_control(sentence))


def as_csv(reports: Sequence[Report]) -> str:
    """Return a row for every model after every request of every run."""
    rows = [row for report in reports for row in _rows(report)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    records = 0
    for request, step in zip(report["requests"], report["steps"], strict=True):
        records += request["records"]
        start = {
            "strategy": report["choices"]["strategy"],
            **{f"seed.{name}": seed for name, seed in report["seeds"].items()},
            "request": request["number"],
            "records": records,
        }
        for name, entry in ({"retrained": step["retrained"]} | step["models"]).items():
            yield start | {"model": name} | dict(_numbers(entry))


def _numbers(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield prefix + name, "" if value is None else value
