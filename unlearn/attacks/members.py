"""Members, non-members, and a classifier that separates them by their loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from typing import Any

import torch

from unlearn.core.types import Predictions, Subset

FEWEST = 4  # members, and non-members, that an attack needs


def forget_and_peers(
    predictions: Mapping[Subset, Predictions], others: Subset = Subset.HOLDOUT, members: Subset = Subset.FORGET
) -> tuple[Predictions, Predictions]:
    """Return the predictions on members and on non-members of the same classes, sorted by index.

    Non-members of other classes are left out: against them a model retrained without a class would be recognised by
    that class alone.

    Args:
        predictions: by subset.
        others: the subset that non-members come from.
        members: the subset that holds the members.
    """
    forget, pool = sort_by_index(predictions[members]), sort_by_index(predictions[others])
    same = torch.isin(pool.labels, forget.labels)
    return forget, Predictions(pool.logits[same], pool.labels[same], pool.index[same])


def sort_by_index(predictions: Predictions) -> Predictions:
    """Sort predictions by data set index, so that random draws of an attack do not depend on their order."""
    order = predictions.index.argsort()
    return Predictions(predictions.logits[order], predictions.labels[order], predictions.index[order])


def too_few_reason(members: Sized, others: Sized, part: float = 1.0) -> str | None:
    """Return why there are too few samples to fit or score an attack, or None.

    Args:
        members: the members.
        others: the non-members.
        part: the fraction of them that must hold at least two of each kind.
    """
    fewest = max(FEWEST, math.ceil(2 / part))
    if min(len(members), len(others)) >= fewest:
        return None
    return f"{len(members)} members and {len(others)} non-members; at least {fewest} of each are needed"


def loss_classifier() -> Any:
    """Return an unfitted logistic regression on the standardised loss, with balanced class weights (scikit-learn)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
