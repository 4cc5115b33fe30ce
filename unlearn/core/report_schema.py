"""What `report.json` holds: one description, from which docs/report.schema.json is written and reports are checked."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from unlearn.core.errors import first_line
from unlearn.core.json_schema import Schema, SchemaCheck

VERSION = 1  # raised when a reader of older reports would misread a field
LARGEST = 256 * 2**20  # bytes of a report
MAX_DEPTH = 50  # levels of nesting
BOUND = 1e300  # numbers are smaller, so that their sums are finite

Report = dict[str, Any]


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _number(description: str, null: bool = False) -> Schema:
    kind = ["number", "null"] if null else "number"
    return {"type": kind, "minimum": -BOUND, "maximum": BOUND, "description": description}


def _count(description: str, null: bool = False) -> Schema:
    return {"type": ["integer", "null"] if null else "integer", "minimum": 0, "description": description}


def _list(description: str, items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits, "description": description}


def _by_name(description: str, values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values, "description": description}


def _object(description: str, /, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "description": description}


def _require(schema: Schema, *fields: str) -> Schema:
    return {**schema, "required": list(fields)}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


SEED: Schema = {"type": "integer", "description": "a seed"}
INTERVAL = _or_null(_list("95 % interval: its lower and its upper end", _number("an end"), minItems=2, maxItems=2))
UNCERTAINTY = {"standard_error": _number("standard error over images", null=True), "interval": INTERVAL}
DIFFERENCE = {"value": _number("difference of two models", null=True), **UNCERTAINTY}

READING = _object(
    "One evaluation.",
    seed=_or_null(SEED),
    reference_seed=_or_null({**SEED, "description": "training seed of the retrained model it was compared with"}),
    key=_text("key of the artifact with the measurement"),
    value=_number("the value, null if undefined", null=True),
    n=_count("number of images"),
    reason={"type": ["string", "null"], "description": "why the value is undefined"},
    **UNCERTAINTY,
)
STATISTIC = _object(
    "Spread, counts and evaluations behind a number of `metrics`.",
    std=_number("standard deviation over retrained models", null=True),
    n=_count("number of images", null=True),
    models=_count("number of models"),
    pairs=_count("number of pairs of retrained models"),
    mean_absolute=_number("mean absolute gap to single retrained models", null=True),
    readings=_list("every evaluation", _require(READING, "value"), minItems=1),
    keys=_list("keys of the artifacts behind the number", _text("a key")),
    over={
        "type": ["array", "string"],
        "items": _text("a key of `metrics`"),
        "description": "the numbers that an average is over, or in words what an interval is over",
    },
    original=_or_null(
        _object("gap of the original model", mean_absolute=_number("mean absolute gap", null=True), **DIFFERENCE)
    ),
    change=_object("unlearned minus original", **DIFFERENCE),
    **UNCERTAINTY,
)
HARDWARE = _by_name(
    "device, cpu, cores, threads, …",
    {"type": ["string", "number", "boolean", "null"], "description": "a property of the machine"},
)
ARTIFACT = _object(
    "An artifact that the run built or reused.",
    key=_text("SHA-256 of everything that determines it, in hexadecimal"),
    status={"type": "string", "enum": ["built", "reused"], "description": "whether this run built it"},
    seconds=_number("seconds that its build took"),
    hardware=HARDWARE,
)
ANSWER = _object(
    "An answer of the verdict.",
    question=_text("the question"),
    answer=_text("the answer in a sentence"),
    lines=_list("the numbers, in sentences", _text("a sentence")),
    finding=_text("the answer in a word; only for `forgotten` and `utility`"),
)
CURVE = _object(
    "a curve",
    role=_text("original, retrained or unlearned"),
    seed=SEED,
    tpr=_list("true-positive rates, 0-1", _number("a rate")),
)
ROC = _object(
    "ROC curves of one attack, at the same false-positive rates.",
    members=_count("number of members"),
    non_members=_count("number of non-members"),
    fpr=_list("false-positive rates, 0-1", _number("a rate")),
    models=_list(
        "one curve per model",
        _require(CURVE, "role", "seed", "tpr"),
    ),
)

COPIES = _object(
    "Identical copies of forgotten images that remain.",
    compared={"type": ["string", "null"], "description": "pixels or files; null: not compared"},
    forgotten=_count("number of forgotten images with a copy"),
    remain=_by_name("names of the copies by subset", _list("names", _text("a record"))),
)

FIELDS: dict[str, Schema] = {
    "schema_version": {"type": "integer", "enum": [VERSION], "description": "version of this schema"},
    "date": _text("when the run ended: UTC, ISO 8601"),
    "metrics": _by_name("numbers under keys `role/metric`; null if undefined, with a note", _number("", null=True)),
    "statistics": _by_name("what is behind each number, under the same keys", STATISTIC),
    "notes": _by_name("why a number is null, under its key; other notes under names", _text("a note")),
    "request": _object(
        "What was forgotten, and who asked.",
        option=_text("option of `forget`"),
        file={"type": ["string", "null"], "description": "name of the request's file; null where it may not be shown"},
        forgotten=_count("number of images to forget"),
        forgotten_by_class=_or_null(_list("the same by number of the class; null if not known", _count("images"))),
    ),
    "classes": _list("names of the classes in the order of their numbers; empty if they have none", _text("a name")),
    "requests": _object(
        "This and earlier requests together; only with earlier ones.",
        count=_count("number of requests"),
        records=_count("records of all of them"),
        earlier_records=_count("records of the earlier ones"),
        already_forgotten=_count("records that were asked for twice"),
        seconds=_number("seconds of unlearning, of all requests", null=True),
    ),
    "edited_parameters": _count("number of weights that the edit chose; null without an edit", null=True),
    "total_parameters": _count("number of weights"),
    "copies": _or_null(COPIES),
    "judged_by": _list("metrics that decide whether the forget set was forgotten", _text("a metric")),
    "chance": _number("accuracy of the best constant answer on test images, 0-1"),
    "attacks": _by_name("members, non_members and direction of every attack", _by_name("", _text("a description"))),
    "user_metrics": _by_name(
        "metrics from outside the package",
        _require(_object("one of them", title=_text("its title"), meaning=_text("its definition")), "title", "meaning"),
    ),
    "curves": _by_name("ROC curves by attack", _require(ROC, "fpr", "models")),
    "confidence": _by_name(
        "histograms of the confidence in the true class by role and subset, in 20 equal bins from 0 to 1",
        _by_name("by subset", _list("numbers of images", _count("images"))),
    ),
    "spd_gan": _object(
        "What moved the images, and the curve of its training; only if images were moved.",
        by=_text("what moved the images"),
        term={"type": ["string", "null"], "description": "the term of SPD-GAN's loss"},
        epsilon=_number("largest change of a pixel, 0-1"),
        curve=_list("rows of the curve", _by_name("a row", _number("", null=True))),
    ),
    "retain": _by_name("counts of images read in place of the retain set", {"description": "a count"}),
    "blend": _by_name("how original and unlearned model were blended", {"description": "a value"}),
    "artifacts": _by_name("the stages of the run by name", _require(ARTIFACT, "key")),
    "weights": {
        "type": ["string", "null"],
        "enum": ["unlearned.safetensors", "unlearned.pt", None],
        "description": "file with the unlearned model's weights, next to this one; null: not written",
    },
    "audit": {
        "type": ["string", "null"],
        "enum": ["audit.json", None],
        "description": "file of the audit record, next to this one; null: not written",
    },
    "no_pictures": {"type": ["string", "null"], "description": "why pictures are left out; null: they may be shown"},
    "choices": _by_name("name of the chosen option of each group", _text("an option")),
    "config": _by_name("the resolved settings", {"description": "a group or a setting"}),
    "seeds": {
        "type": "object",
        "properties": {"baseline": _list("training seeds of the retrained models", SEED)},
        "additionalProperties": SEED,
        "description": "the seed of each kind of draw",
    },
    "versions": _by_name("of Python and of packages", {"type": ["string", "null"], "description": "a version"}),
    "hardware": HARDWARE,
    "command": _text("the command line"),
    "verdict": _by_name("answers by name: forgotten, utility, cost, sure", ANSWER),
}
# Reports of earlier versions lack the other fields.
REQUIRED = ("schema_version", "metrics", "statistics", "notes", "artifacts", "choices", "config", "seeds", "versions")
SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "report.json of unlearn",
    **_require(_object("The report of one run.", **FIELDS), *REQUIRED, "hardware", "command"),
}


class DamagedReportError(ValueError):
    """A report that is damaged or of another version; the message names the field."""


def load_report(path: Path) -> Report:
    """Read a report and check it.

    Raises:
        OSError: the file cannot be read.
        DamagedReportError: it is not a report of this version.
    """
    if not path.is_file():  # reading a pipe would never end
        raise DamagedReportError("expected a file, got a folder or a pipe")
    if path.stat().st_size > LARGEST:
        raise DamagedReportError(f"expected at most {LARGEST} bytes, got {path.stat().st_size}")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedReportError(f"expected JSON, got text that cannot be read: {first_line(error)}") from error
    if not _is_shallow(report, MAX_DEPTH):
        raise DamagedReportError(f"expected at most {MAX_DEPTH} levels of nesting, got more")
    if fault := next(_check().find_faults(report), None):
        raise DamagedReportError(fault)
    return dict(report)


@cache
def _check() -> SchemaCheck:
    return SchemaCheck(SCHEMA)


def _is_shallow(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(child, levels - 1) for child in children)
