"""A sweep's reports in, one summary out: `sweep.csv`, `sweep.md`, `sweep.html`, and the table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from unlearn.core.errors import abbreviate, format_error
from unlearn.report.sweep.page import render
from unlearn.report.sweep.read import Cell, Found, ReportError, read
from unlearn.report.sweep.scenario import Row, group
from unlearn.report.sweep.tables import as_csv, as_markdown, print_table
from unlearn.report.write import write_text

SELECTION = (
    "The average gap reads test and holdout images: marks and ranks describe these runs. To choose by them would be to "
    "select on test data."
)


def summarise(paths: Sequence[Path], into: Path, stream: TextIO) -> list[Path]:
    """Write the summary of all reports at or below `paths` into a folder, print the table; returns what was written.

    Raises:
        ReportError: a path without reports, a damaged one, or reports of different schema versions.
        UnlearnError: the folder cannot be written.
    """
    found = read(paths)
    try:
        texts = _texts(found, into, stream)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError) as error:
        wrong = f"which lack or contradict what they refer to ({format_error(error)})"
        raise ReportError(f"PATH: expected reports as unlearn writes them, got some {wrong}") from error
    return [write_text(text, into / name, "--into") for name, text in texts.items()]


def _texts(found: Found, into: Path, stream: TextIO) -> dict[str, str]:
    """The files by name; prints the table."""
    scenarios, older = group(found.cells)
    rows = [row for scenario in scenarios for row in scenario.rows]
    notes = [*_notes(found, rows, older)]
    print_table(found, scenarios, notes, stream)
    return {
        "sweep.csv": as_csv(scenarios, into),
        "sweep.md": as_markdown(found, scenarios, notes),
        "sweep.html": render(found, scenarios, notes, into),
    }


def _notes(found: Found, rows: Sequence[Row], older: int) -> Iterator[str]:
    """What must be known before any number is read."""
    yield from dict.fromkeys(
        cell.report["notes"][key] for key in GENERAL for cell in found.cells if key in cell.report["notes"]
    )
    idle = list(dict.fromkeys(row.label for row in rows if any("selection" in c.report["notes"] for c in row.cells)))
    if idle:
        yield f"Selected weights with a score of 0, which were taken by their place alone: {abbreviate(idle)}."
    unsolved = list(dict.fromkeys(row.label for row in rows if any("solver" in c.report["notes"] for c in row.cells)))
    if unsolved:
        yield f"Conjugate gradients stopped before they reached their tolerance: {abbreviate(unsolved)}."
    yield from (f"Left out: {words}." for words in found.left_out)
    if older:
        yield f"Left out: {older} of the same setting and seeds as a newer report, with other keys."
    for part in ("versions", "hardware"):
        yield from _differing(found.cells, part)
    if any(cell.metrics.get("average_gap") is not None for cell in found.cells):
        yield SELECTION


GENERAL = ("checkpoint_accuracy", "checkpoint", "split", "spd_gan", "grading")


def _differing(cells: Sequence[Cell], part: str) -> Iterator[str]:
    names = dict.fromkeys(name for cell in cells for name in cell.report[part])
    values = {name: {json.dumps(cell.report[part].get(name)) for cell in cells} for name in names}
    told = [f"{name} {', '.join(sorted(found))}" for name, found in values.items() if len(found) > 1]
    if told:
        timing = " Seconds of different hardware are not averaged." if part == "hardware" else ""
        yield f"The reports differ in {part}: {'; '.join(told)}.{timing}".replace('"', "")
