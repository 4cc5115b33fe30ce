"""Reports from disk: found, checked for being reports, each cell counted once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearn.core.errors import UnlearnError, first_line
from unlearn.report.assemble import SCHEMA_VERSION
from unlearn.report.note import DONE, NOTE, Note
from unlearn.report.pictures import PICTURES
from unlearn.report.sweep.shape import disarmed, faults

PARTS = (
    "schema_version",
    "metrics",
    "statistics",
    "notes",
    "artifacts",
    "choices",
    "config",
    "seeds",
    "versions",
    "hardware",
    "command",
)
Report = dict[str, Any]


class ReportError(UnlearnError):
    """Reports that cannot be summarised; nothing was written."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished run, by its `report.json`."""

    path: Path
    report: Report
    modified: float  # seconds since the epoch: of two reports of one cell the later counts

    @property
    def strategy(self) -> str:
        """The option taken, by its name."""
        return str(self.report["choices"].get("strategy", "strategy"))

    @property
    def metrics(self) -> dict[str, float | None]:
        """Flat, `role/metric`."""
        return dict(self.report["metrics"])

    @property
    def seeds(self) -> tuple[tuple[str, int], ...]:
        """Every seed of its own by name: what two cells have in common when they are paired."""
        return tuple((name, seed) for name, seed in self.report["seeds"].items() if name != "baseline")

    @cached_property
    def leaves(self) -> dict[str, Any]:
        """The resolved configuration under dotted keys; the option taken in a group under the group's own."""
        groups = {group.replace("/", "."): option for group, option in self.report["choices"].items()}
        return groups | dict(flat(self.report["config"]))

    def key(self, name: str) -> str:
        """Of one of its artefacts, empty where it has none of that name."""
        return str(self.report["artifacts"].get(name, {}).get("key", ""))

    @property
    def page(self) -> Path:
        """Where the page of this run lies, if there is one."""
        return self.path.with_name("report.html")

    def pictures(self) -> dict[str, Any] | None:
        """Images that SPD-GAN moved, where the run was free to write them down."""
        try:
            found = json.loads(self.path.with_name(PICTURES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("shown") else None


@dataclass(frozen=True)
class Failure:
    """A cell that did not come to a report: what was asked and why it failed, and where."""

    note: Note
    path: Path

    @property
    def cause(self) -> str:
        """One line."""
        return self.note.cause or "it did not finish: still running, or killed"


@dataclass(frozen=True)
class Found:
    """What lay under the paths: every cell once, those that failed, and what was left out in words."""

    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]
    left_out: tuple[str, ...] = ()


def read(paths: Sequence[Path]) -> Found:
    """All reports at or below `paths`.

    Raises:
        ReportError: a path without reports, a damaged report, or reports of different schema versions.
    """
    try:
        files = list(dict.fromkeys(file.resolve() for path in paths for file in _reports(path)))
        failures = _failures(paths)
    except (OSError, ValueError, RuntimeError) as error:  # closed folders, names too long, links to themselves
        raise ReportError(f"PATH: expected what can be read, got {first_line(error)}") from error
    cells = [_cell(file) for file in files if file.parent not in failures]
    if not cells:
        raise ReportError(f"PATH: expected a finished cell, got {len(failures)} that failed and none that finished")
    once = _newest(cells)
    left = [
        (len(files) - len(cells), "of earlier runs in the folders of failed cells"),
        (len(cells) - len(once), "of a cell that has a newer one"),
    ]
    words = (f"{count} report{'s' * (count > 1)} {why}" for count, why in left if count)
    return Found(tuple(once), tuple(sorted(failures.values(), key=lambda each: each.note.number)), tuple(words))


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves under dotted keys; a list is a leaf, an empty branch is none."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _reports(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    every = (file for file in path.rglob("report.json") if file.is_file())
    mine = (file for file in every if "wandb" not in file.relative_to(path).parts)  # copies to send
    found = sorted(mine, key=_natural)
    if not found and not any(path.rglob(NOTE)):
        got = "a folder without one" if path.is_dir() else "no such path"
        raise ReportError(f"PATH: expected a report.json at or below {path}, got {got}")
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    """Cell 2 before cell 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _cell(file: Path) -> Cell:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        modified = file.stat().st_mtime
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"PATH: expected a report, got {file}, which cannot be read: {first_line(error)}") from error
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version not in (None, SCHEMA_VERSION):
        raise ReportError(f"schema_version: expected {SCHEMA_VERSION} in every report, got {version!r} in {file}")
    missing = [part for part in PARTS if not isinstance(report, dict) or part not in report]
    if missing:
        raise ReportError(f"PATH: expected a report, got {file}, which lacks {', '.join(missing)}")
    if wrong := next(faults(report), None):
        raise ReportError(f"PATH: expected a report, got {file}: {wrong}")
    return Cell(file, disarmed(report), modified)


def _newest(cells: Sequence[Cell]) -> list[Cell]:
    """One for each set of models and seeds, as it was measured, in the order found.

    The unlearned model alone does not tell two cells apart: it hangs neither on the probe, nor on what it is held
    against, nor on the seed of the evaluation.
    """
    kept: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        made = tuple((name, part["key"]) for name, part in sorted(cell.report["artifacts"].items()))
        measured = sorted((key, str(value)) for key, value in cell.leaves.items() if key.startswith("attacks."))
        same = (made, cell.seeds, *measured)
        if same not in kept or cell.modified >= kept[same].modified:
            kept[same] = cell
    chosen = {id(cell) for cell in kept.values()}
    return [cell for cell in cells if id(cell) in chosen]


def _failures(paths: Sequence[Path]) -> dict[Path, Failure]:
    """By folder; those that were run again since, and done, are none."""
    files = {file.resolve() for path in paths if path.is_dir() for file in path.rglob(NOTE) if file.is_file()}
    notes = {file.parent: _note(file) for file in files}
    done = {note.asked for note in notes.values() if note.state == DONE}
    return {
        folder: Failure(note, folder) for folder, note in notes.items() if note.state != DONE and note.asked not in done
    }


def _note(file: Path) -> Note:
    try:
        return Note.read(file)
    except (OSError, ValueError) as error:
        raise ReportError(f"PATH: expected the state of a cell, got {file}, which cannot be read: {error}") from error
