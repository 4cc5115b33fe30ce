"""Forgetting rate."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import is_correct, ratio_of_means
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class ForgettingRate(Metric):
    """FR = (A(theta_0, D_f) - A(theta, D_f)) / A(theta_0, D_f), the fraction of accuracy on D_f that was lost.

    Numbers: `forgetting_rate`.
    Range: at most 1; 0 for the original, 1 if forget accuracy is 0, negative if forget accuracy rose.
    Direction: none; the target is the retrained model's value, which is seldom 1.
    Reference: the retrained model.
    Trap: without the retrained model's value for comparison, a model at chance looks best.
    Source: the paper reports a forgetting rate on unlearning data [P]; its formula is not known, this one is ours.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = is_correct(evidence.original[Subset.FORGET])
        lost = before - is_correct(evidence.subject[Subset.FORGET])
        return {"forgetting_rate": ratio_of_means(lost, before, "the original's accuracy on the forget set")}
