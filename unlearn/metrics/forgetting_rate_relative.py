"""Forgetting rate, relative to retraining."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import calibrated, correct
from unlearn.types import Measurement, Role, Subset


@dataclass(frozen=True)
class ForgettingRateRelative(Metric):
    """(A_0 - A) / (A_0 - A_r) on D_f: 0 untouched, 1 like retrained, above 1 over-forgetting (our choice).

    Undefined where original and retrained differ by less than three standard errors.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = correct(evidence.original[Subset.FORGET])
        lost = before - correct(evidence.subject[Subset.FORGET])
        wanted = before - correct(evidence.retrained[Subset.FORGET])
        what = "forget accuracy of original minus retrained"
        return {"forgetting_rate_relative": calibrated(lost, wanted, what)}
