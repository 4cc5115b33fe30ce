"""Find, check and read the reports of a sweep; each run counts once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearn.core.errors import UnlearnError, first_line, pluralize
from unlearn.core.report_schema import DamagedReportError, load_report
from unlearn.report.note import DONE, NOTE, Note
from unlearn.report.pictures import PICTURES
from unlearn.report.sweep.shape import escape_texts, find_null_readings

Report = dict[str, Any]


class ReportError(UnlearnError):
    """Reports that cannot be summarised; nothing was written."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished run of a sweep.

    Args:
        path: its `report.json`.
        report: the content.
        modified: time of the last change in seconds since 1970; of two reports of one run the newer counts.
    """

    path: Path
    report: Report
    modified: float

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return str(self.report["choices"].get("strategy", "strategy"))

    @property
    def metrics(self) -> dict[str, float | None]:
        """The numbers under flat keys `role/metric`."""
        metrics: dict[str, float | None] = self.report["metrics"]
        return metrics

    @property
    def seeds(self) -> tuple[tuple[str, int], ...]:
        """The run's own seeds by name, without those of retrained models; paired runs have equal seeds."""
        return tuple((name, seed) for name, seed in self.report["seeds"].items() if name != "baseline")

    @cached_property
    def leaves(self) -> dict[str, Any]:
        """The resolved config under dotted keys; the key of a group holds the name of the selected option."""
        groups = {group.replace("/", "."): option for group, option in self.report["choices"].items()}
        return groups | dict(flatten(self.report["config"]))

    def key(self, name: str) -> str:
        """Return the key of an artifact, by its name in the report; empty if there is none."""
        return str(self.report["artifacts"].get(name, {}).get("key", ""))

    @property
    def page(self) -> Path:
        """The path of the run's HTML page, which may not exist."""
        return self.path.with_name("report.html")

    def pictures(self) -> dict[str, Any] | None:
        """Return the images that SPD-GAN changed; None if the run was not allowed to write them."""
        try:
            pictures = json.loads(self.path.with_name(PICTURES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return pictures if isinstance(pictures, dict) and pictures.get("shown") else None


@dataclass(frozen=True)
class Failure:
    """A run without a report: its state and its folder."""

    note: Note
    path: Path

    @property
    def cause(self) -> str:
        """Why the run failed, in one line."""
        return self.note.cause or "it did not finish: still running, or killed"


@dataclass(frozen=True)
class SweepReports:
    """The reports of a sweep.

    Args:
        cells: the finished runs, each once.
        failures: the failed runs.
        left_out: what was left out, in words: `2 reports of a cell that has a newer one`.
    """

    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]
    left_out: tuple[str, ...] = ()


def read(paths: Sequence[Path]) -> SweepReports:
    """Read all reports at or below `paths`.

    Raises:
        ReportError: a path without reports, a damaged report, or reports of different schema versions.
    """
    try:
        files = list(dict.fromkeys(file.resolve() for path in paths for file in _find_reports(path)))
        failures = _read_failures(paths)
    except (OSError, ValueError, RuntimeError) as error:  # no permission, too long a name, a link to itself
        raise ReportError(f"PATH: expected a readable folder, got {first_line(error)}") from error
    cells = [_read_cell(file) for file in files if file.parent not in failures]
    if not cells:
        raise ReportError(f"PATH: expected a finished cell, got {len(failures)} that failed and none that finished")
    newest = _keep_newest(cells)
    counts = {
        "of earlier runs in the folders of failed cells": len(files) - len(cells),
        "of a cell that has a newer one": len(cells) - len(newest),
    }
    left_out = tuple(f"{pluralize(count, 'report')} {reason}" for reason, count in counts.items() if count)
    by_number = sorted(failures.values(), key=lambda failure: failure.note.number)
    return SweepReports(tuple(newest), tuple(by_number), left_out)


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts under dotted keys; a list is a leaf, an empty dict has none."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _find_reports(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = (file for file in path.rglob("report.json") if file.is_file())
    reports = sorted((file for file in files if "wandb" not in file.relative_to(path).parts), key=_natural_order)
    if not reports and not any(path.rglob(NOTE)):
        got = "a folder without one" if path.is_dir() else "no such path"
        raise ReportError(f"PATH: expected a report.json at or below {path}, got {got}")
    return reports


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts folder 2 before folder 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _read_cell(file: Path) -> Cell:
    try:
        report, modified = load_report(file), file.stat().st_mtime
    except OSError as error:
        raise ReportError(f"PATH: expected a report, got {file}, which cannot be read: {first_line(error)}") from error
    except DamagedReportError as error:
        raise ReportError(f"PATH: expected a report, got {file}: {error}") from error
    if fault := next(find_null_readings(report), None):
        raise ReportError(f"PATH: expected a report, got {file}: {fault}")
    return Cell(file, escape_texts(report), modified)


def _keep_newest(cells: Sequence[Cell]) -> list[Cell]:
    """Keep the newest run for each set of models, seeds and attack settings, in the given order.

    The unlearned model alone does not identify a run: the probe, the retrained models and the seed of the evaluation
    do not change it.
    """
    kept: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        keys = tuple((name, artifact["key"]) for name, artifact in sorted(cell.report["artifacts"].items()))
        attacks = sorted((key, str(value)) for key, value in cell.leaves.items() if key.startswith("attacks."))
        identity = (keys, cell.seeds, *attacks)
        if identity not in kept or cell.modified >= kept[identity].modified:
            kept[identity] = cell
    kept_ids = {id(cell) for cell in kept.values()}
    return [cell for cell in cells if id(cell) in kept_ids]


def _read_failures(paths: Sequence[Path]) -> dict[Path, Failure]:
    """Return the failed runs by folder, without those that a later run with the same overrides finished."""
    files = {file.resolve() for path in paths if path.is_dir() for file in path.rglob(NOTE) if file.is_file()}
    notes = {file.parent: _read_note(file) for file in files}
    finished = {note.identity for note in notes.values() if note.state == DONE}
    return {
        folder: Failure(note, folder)
        for folder, note in notes.items()
        if note.state != DONE and note.identity not in finished
    }


def _read_note(file: Path) -> Note:
    try:
        return Note.read(file)
    except (OSError, ValueError) as error:
        raise ReportError(f"PATH: expected the state of a cell, got {file}, which cannot be read: {error}") from error
