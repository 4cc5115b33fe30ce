"""A few records of each subset, and what the models say of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from unlearn.core.types import Predictions, Role, Subset
from unlearn.functional.estimates import confidence
from unlearn.pipeline.plan import Outcome
from unlearn.stages.files import read_predictions
from unlearn.stages.predict import Predict

Row = dict[str, Any]

SAMPLED = 64  # records of each subset
LOOKED_AT = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
ROLES = (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED)


def sampled(outcome: Outcome) -> Iterator[Row]:
    """Evenly spaced records of each subset: what each role predicts, and its probability of the true class, 0-1.

    The first retrained model stands for all of them.
    """
    views: dict[Subset, dict[Role, Predict]] = defaultdict(dict)
    for reading, _ in outcome.measurements:
        for subset, stage in reading.stage.subject.predictions.items():
            if subset in LOOKED_AT and reading.role in ROLES:
                views[subset].setdefault(reading.role, stage)
    for subset, roles in views.items():
        yield from _rows(subset, {role: read_predictions(outcome.context.get(at)) for role, at in roles.items()})


def _rows(subset: Subset, found: Mapping[Role, Predictions]) -> Iterator[Row]:
    first = next(iter(found.values()))
    columns: dict[str, Any] = {"index": first.index, "label": first.labels}
    for role, predictions in found.items():
        columns[f"{role} prediction"] = predictions.logits.argmax(1)
        columns[f"{role} confidence"] = confidence(predictions)
    n, lists = len(first.labels), {name: column.tolist() for name, column in columns.items()}
    for at in range(0, n, max(1, -(-n // SAMPLED))):
        yield {"subset": str(subset)} | {name: column[at] for name, column in lists.items()}


def points(curves: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The ROC curves of all attacks and models, a point a row: shares alone, no score of a sample."""
    for attack, found in curves.items():
        for model in found["models"]:
            for fpr, tpr in zip(found["fpr"], model["tpr"], strict=True):
                yield {"attack": attack, "role": model["role"], "seed": model["seed"], "fpr": fpr, "tpr": tpr}
