"""Forgetting rate."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import correct, ratio_of_means
from unlearn.types import Measurement, Role, Subset


@dataclass(frozen=True)
class ForgettingRate(Metric):
    """FR = (A(theta_0, D_f) - A(theta, D_f)) / A(theta_0, D_f): 0 untouched, 1 nothing right any more.

    The paper has a forgetting rate on unlearning data [P]; its formula is not known, this one is ours. Without the
    retrained model's value beside it, it says nothing: the right amount of forgetting is seldom 1.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = correct(evidence.original[Subset.FORGET])
        lost = before - correct(evidence.subject[Subset.FORGET])
        return {"forgetting_rate": ratio_of_means(lost, before, "the original's accuracy on the forget set")}
