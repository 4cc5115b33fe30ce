"""Members, non-members, and a loss_classifier that tells them apart by their loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from typing import Any

import torch

from unlearn.core.types import Predictions, Subset

FEWEST = 4  # of each kind


def forget_and_peers(
    predictions: Mapping[Subset, Predictions], others: Subset = Subset.HOLDOUT
) -> tuple[Predictions, Predictions]:
    """The forget set, and the samples of `others` of the classes that occur in it, by index.

    Against all classes, a model retrained without one class would give itself away by that class alone.
    """
    forget, found = by_index(predictions[Subset.FORGET]), by_index(predictions[others])
    same = torch.isin(found.labels, forget.labels)
    return forget, Predictions(found.logits[same], found.labels[same], found.index[same])


def by_index(predictions: Predictions) -> Predictions:
    """In the order of the data set, so that what an attack draws at random does not hang on theirs."""
    order = predictions.index.argsort()
    return Predictions(predictions.logits[order], predictions.labels[order], predictions.index[order])


def too_few_reason(members: Sized, others: Sized, part: float = 1.0) -> str | None:
    """Why an attack cannot be fitted or scored on these, or on a `part` that needs two of each kind, if so."""
    fewest = max(FEWEST, math.ceil(2 / part))
    if min(len(members), len(others)) >= fewest:
        return None
    return f"{len(members)} members and {len(others)} non-members; at least {fewest} of each are needed"


def loss_classifier() -> Any:
    """A logistic regression on the standardised loss, both classes weighted alike (scikit-learn)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
