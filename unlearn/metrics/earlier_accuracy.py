"""Accuracy on the records of earlier requests."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import is_correct
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class EarlierAccuracy(SampleMean):
    """Fraction of the records of earlier requests whose most probable class is the label: are they still forgotten?

    The retrained models are trained without the records of this request and of all earlier ones. A gap that was not
    there after the earlier request is a relapse. Every run with `forget.earlier` measures it.

    Numbers: `earlier_forget_accuracy`.
    Range: 0 to 1.
    Direction: the target is the retrained model's value.
    Reference: the retrained model.
    Trap: all earlier requests are measured together, so a relapse of a small one is hard to see among larger ones.
    Source: ours.
    """

    max_difference = 1.0
    subsets = (Subset.EARLIER_FORGET,)
    needs_earlier = True

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        return {"earlier_forget_accuracy": is_correct(evidence.subject[Subset.EARLIER_FORGET])}
