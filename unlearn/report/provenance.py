"""When a report was made, what was asked for, and which files lie next to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import torch

from unlearn.core.types import Subset
from unlearn.data.datasets.base import Dataset
from unlearn.pipeline.plan import Outcome
from unlearn.report.pictures import explain_absence, may_show
from unlearn.stages.files import read_predictions, read_tensors

AUDIT = "audit.json"


def describe_provenance(outcome: Outcome, config: dict[str, Any], option: str) -> dict[str, Any]:
    """Return the entries of a report from `date` to `no_pictures`.

    Args:
        outcome: the finished run.
        config: its resolved config as plain JSON.
        option: the selected option of `forget`.
    """
    dataset = outcome.plan.split.forget.population.dataset
    settings = config["report"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": {
            "option": option,
            "file": _request_file(config, dataset),
            "forgotten": len(read_tensors(outcome.context.get(outcome.plan.split), "split.safetensors")["forget"]),
            "forgotten_by_class": _count_by_class(outcome, dataset.classes),
        },
        "classes": list(dataset.class_names),
        "weights": None if settings["weights"] == "none" else f"unlearned.{settings['weights']}",
        "audit": AUDIT if settings["audit"] else None,
        "no_pictures": explain_absence(dataset, settings["images"]) or None,
    }


def describe_request(report: dict[str, Any]) -> str:
    """Describe what was asked for: `class: 12 images, 12 of digit 3`; empty for reports of earlier versions."""
    request = report.get("request")
    if not request:
        return ""
    counts = request["forgotten_by_class"] or []
    names = report.get("classes") or [f"class {number}" for number in range(len(counts))]
    by_class = [f"{count:,} of {name}" for count, name in zip(counts, names, strict=False) if count]
    asked = request["option"] + (f" ({request['file']})" if request["file"] else "")
    return f"{asked}: " + ", ".join([f"{request['forgotten']:,} images", *by_class])


def _request_file(config: dict[str, Any], dataset: Dataset) -> str | None:
    """The name of the file that lists the records, if names of records may be shown."""
    file = config["forget"].get("file")
    return PurePath(file).name if isinstance(file, str) and may_show(dataset, config["report"]["images"]) else None


def _count_by_class(outcome: Outcome, classes: int) -> list[int] | None:
    """Count the images to forget by class; None if no metric predicts them, since that alone reads their labels."""
    for evaluation, _ in outcome.measurements:
        stage = evaluation.stage.subject.predictions.get(Subset.FORGET)
        if stage is not None:
            labels = read_predictions(outcome.context.get(stage)).labels
            return [int(count) for count in torch.bincount(labels, minlength=classes)]
    return None
