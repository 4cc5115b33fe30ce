"""Summarise the reports of a sweep: `sweep.csv`, `sweep.md`, `sweep.html`, and a printed table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from unlearn.core.errors import abbreviate, format_error
from unlearn.report.sweep.comparison import Row, group_cells
from unlearn.report.sweep.page import render
from unlearn.report.sweep.read import Cell, ReportError, SweepReports, read
from unlearn.report.sweep.spreadsheet import as_csv
from unlearn.report.sweep.tables import as_markdown, print_table
from unlearn.report.write import write_text

SELECTION = (
    "The average gap uses test and holdout images. Marks and ranks describe these runs; choosing a setting by them "
    "would select on test data."
)
GENERAL_NOTES = ("checkpoint_accuracy", "checkpoint", "split", "spd_gan", "grading")


def summarise(paths: Sequence[Path], into: Path, stream: TextIO) -> list[Path]:
    """Summarise all reports at or below `paths`: print the table and write the files.

    Args:
        paths: report files, or folders that contain some.
        into: folder of the files.
        stream: where the table is printed.

    Returns:
        The paths of the written files.

    Raises:
        ReportError: a path without reports, a damaged report, or reports of different schema versions.
        UnlearnError: the folder cannot be written.
    """
    reports = read(paths)
    try:
        texts = _build_texts(reports, into, stream)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError) as error:
        got = f"one with missing or contradictory parts ({format_error(error)})"
        raise ReportError(f"PATH: expected reports as unlearn writes them, got {got}") from error
    return [write_text(text, into / name, "--into") for name, text in texts.items()]


def _build_texts(reports: SweepReports, into: Path, stream: TextIO) -> dict[str, str]:
    """Print the table and return the contents of the files by name."""
    groups, replaced = group_cells(reports.cells)
    rows = [row for group in groups for row in group.rows]
    notes = [*_notes(reports, rows, replaced)]
    print_table(reports, groups, notes, stream)
    return {
        "sweep.csv": as_csv(groups, into),
        "sweep.md": as_markdown(reports, groups, notes),
        "sweep.html": render(reports, groups, notes, into),
    }


def _notes(reports: SweepReports, rows: Sequence[Row], replaced: int) -> Iterator[str]:
    """Yield the notes that a reader needs before the numbers."""
    yield from dict.fromkeys(
        cell.report["notes"][key] for key in GENERAL_NOTES for cell in reports.cells if key in cell.report["notes"]
    )
    if labels := _rows_with_note(rows, "selection"):
        yield f"Some selected weights have a score of 0; they were selected by position: {abbreviate(labels)}."
    if labels := _rows_with_note(rows, "solver"):
        yield f"Conjugate gradients stopped before they reached their tolerance: {abbreviate(labels)}."
    yield from (f"Left out: {words}." for words in reports.left_out)
    if replaced:
        yield f"Left out: {replaced} with the setting and seeds of a newer report, but other keys."
    for part in ("versions", "hardware"):
        yield from _describe_differences(reports.cells, part)
    if any(cell.metrics.get("average_gap") is not None for cell in reports.cells):
        yield SELECTION


def _rows_with_note(rows: Sequence[Row], note: str) -> list[str]:
    return list(dict.fromkeys(row.label for row in rows if any(note in cell.report["notes"] for cell in row.cells)))


def _describe_differences(cells: Sequence[Cell], part: str) -> Iterator[str]:
    names = dict.fromkeys(name for cell in cells for name in cell.report[part])
    values = {name: {json.dumps(cell.report[part].get(name)) for cell in cells} for name in names}
    differing = [f"{name} {', '.join(sorted(texts))}" for name, texts in values.items() if len(texts) > 1]
    if differing:
        timing = " Seconds on different hardware are not averaged." if part == "hardware" else ""
        yield f"The reports differ in {part}: {'; '.join(differing)}.{timing}".replace('"', "")
