"""Build the page of a run from its folder: from `report.json` and `pictures.json`, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from unlearn.core.errors import UnlearnError, first_line, format_error
from unlearn.core.json_schema import Schema, SchemaCheck
from unlearn.core.report_schema import DamagedReportError, load_report
from unlearn.report.inversion import Picture, RecoveredPictures
from unlearn.report.page import render
from unlearn.report.pictures import PICTURES, Example, Examples
from unlearn.report.sweep.shape import escape_texts
from unlearn.report.table import show
from unlearn.report.write import write_text

REPORT, PAGE = "report.json", "report.html"
NO_RECOVERY = RecoveredPictures()
DAMAGES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError)  # what they raise

_TEXT, _INTEGER = {"type": "string"}, {"type": "integer"}


def _objects(**fields: Schema) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": fields, "required": list(fields)}}


_EXAMPLES = _objects(label=_INTEGER, index=_INTEGER, clean=_TEXT, moved=_TEXT, change=_TEXT)
_RECOVERY = {
    "label": {"type": ["integer", "null"]},
    "index": {"type": ["integer", "null"]},
    "shown": _objects(image=_TEXT, name=_TEXT, numbers=_TEXT),
    "why": _TEXT,
}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "shown": _EXAMPLES,
        "control": _EXAMPLES,
        "factor": {"type": "number"},
        "caption": _TEXT,
        "why": _TEXT,
        "recovery": {"type": "object", "properties": _RECOVERY, "required": list(_RECOVERY)},
    },
    "required": ["shown"],
}


def find_run(paths: Sequence[Path]) -> Path | None:
    """Return the folder of the only run that is meant by the paths; None if they mean a sweep, or several runs."""
    if len(paths) != 1:
        return None
    path = paths[0]
    if path.is_file():
        return path.parent if path.name == REPORT else None
    reports = [file for file in path.rglob(REPORT) if "wandb" not in file.relative_to(path).parts]
    return path if reports == [path / REPORT] else None


def summarise_run(folder: Path, into: Path | None, stream: TextIO) -> Path:
    """Print the table of a run, and write its page again from its folder; arguments and result as for `write_page`."""
    from jinja2 import TemplateError

    report = read_report(folder)
    try:
        show(escape_texts(report), stream)
        return write_page(folder, into, "--into")
    except (*DAMAGES, TemplateError) as error:
        got = f"one with missing or contradictory parts ({format_error(error)})"
        raise UnlearnError(f"PATH: expected a report as unlearn writes it, got {folder / REPORT}, {got}") from error


def write_page(folder: Path, into: Path | None = None, key: str = "paths.output") -> Path:
    """Write `report.html` from the folder of a run, without its store and without evaluating anything.

    Args:
        folder: contains `report.json` and, if pictures may be shown, `pictures.json`.
        into: where to write; None: the same folder.
        key: setting that names the folder, for the error message.

    Returns:
        The path of the page.

    Raises:
        UnlearnError: a file is damaged, or the folder cannot be written.
    """
    report = read_report(folder)
    return write_text(render(report, *read_pictures(folder, report)), (into or folder) / PAGE, key)


def write_pictures(examples: Examples, folder: Path, recovery: RecoveredPictures = NO_RECOVERY) -> None:
    """Write the images of a run for its page and that of its sweep; if it has none, remove those of an earlier run.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    if examples.shown or recovery.shown:
        write_text(json.dumps(asdict(examples) | {"recovery": asdict(recovery)}), folder / PICTURES)
    else:
        (folder / PICTURES).unlink(missing_ok=True)


def read_report(folder: Path) -> dict[str, Any]:
    """Read the report of a run.

    Raises:
        UnlearnError: it is missing or damaged.
    """
    path = folder / REPORT
    try:
        return load_report(path)
    except OSError as error:
        raise UnlearnError(f"PATH: expected a report, got {path}, which cannot be read: {first_line(error)}") from error
    except DamagedReportError as error:
        raise UnlearnError(f"PATH: expected a report, got {path}: {error}") from error


def read_pictures(folder: Path, report: dict[str, Any]) -> tuple[Examples, RecoveredPictures]:
    """Return the images of a run, or why none are shown.

    Raises:
        UnlearnError: `pictures.json` is damaged.
    """
    path = folder / PICTURES
    why = report.get("no_pictures") or ""
    has_recovery = any(key.endswith("/feature_recovery_mse") for key in report["metrics"])
    without = Examples(why=why if "spd_gan" in report else ""), RecoveredPictures(why=why if has_recovery else "")
    try:
        pictures = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return without
    except (OSError, ValueError, RecursionError) as error:
        raise UnlearnError(f"PATH: expected pictures, got {path}, which cannot be read: {first_line(error)}") from error
    if fault := next(SchemaCheck(SCHEMA).find_faults(pictures), None):
        raise UnlearnError(f"PATH: expected pictures, got {path}: {fault}")
    recovery = pictures.get("recovery")
    return _examples(pictures) if pictures["shown"] else without[0], _recovered(recovery) if recovery else without[1]


def _examples(pictures: dict[str, Any]) -> Examples:
    shown, control = (
        tuple(Example(**{name: row[name] for name in Example.__dataclass_fields__}) for row in pictures.get(part, ()))
        for part in ("shown", "control")
    )
    return Examples(shown, pictures.get("factor", 1.0), control=control, caption=pictures.get("caption", ""))


def _recovered(recovery: dict[str, Any]) -> RecoveredPictures:
    shown = tuple(Picture(row["image"], row["name"], row["numbers"]) for row in recovery["shown"])
    return RecoveredPictures(recovery["label"], recovery["index"], shown, recovery["why"])
