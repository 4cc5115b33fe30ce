"""Select records of each subset with the predictions of the models, and points of ROC curves, as table rows."""

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

SAMPLED = 64  # records of each subset, at most
SUBSETS = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
ROLES = (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED)


def sample_predictions(outcome: Outcome) -> Iterator[Row]:
    """Yield evenly spaced records of each subset with the prediction of each role, and its confidence, 0-1.

    Confidence is the probability of the true class. Of the retrained models only the first is used.
    """
    stages: dict[Subset, dict[Role, Predict]] = defaultdict(dict)
    for evaluation, _ in outcome.measurements:
        for subset, stage in evaluation.stage.subject.predictions.items():
            if subset in SUBSETS and evaluation.role in ROLES:
                stages[subset].setdefault(evaluation.role, stage)
    for subset, by_role in stages.items():
        yield from _rows(subset, {role: read_predictions(outcome.context.get(at)) for role, at in by_role.items()})


def _rows(subset: Subset, predictions_by_role: Mapping[Role, Predictions]) -> Iterator[Row]:
    first = next(iter(predictions_by_role.values()))
    columns: dict[str, Any] = {"index": first.index, "label": first.labels}
    for role, predictions in predictions_by_role.items():
        columns[f"{role} prediction"] = predictions.logits.argmax(1)
        columns[f"{role} confidence"] = confidence(predictions)
    n, lists = len(first.labels), {name: column.tolist() for name, column in columns.items()}
    for at in range(0, n, max(1, -(-n // SAMPLED))):
        yield {"subset": str(subset)} | {name: column[at] for name, column in lists.items()}


def roc_points(curves: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the points of all ROC curves, by attack and model; they contain rates, but no scores of samples."""
    for attack, curve in curves.items():
        for model in curve["models"]:
            for fpr, tpr in zip(curve["fpr"], model["tpr"], strict=True):
                yield {"attack": attack, "role": model["role"], "seed": model["seed"], "fpr": fpr, "tpr": tpr}
