"""Forgetting rate, relative to retraining."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import calibrated_ratio, is_correct
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class ForgettingRateRelative(Metric):
    """(A_0 - A) / (A_0 - A_r) on D_f, the fraction of the way from the original's accuracy to a retrained model's.

    Numbers: `forgetting_rate_relative`.
    Range: any number; 0 for the original, 1 like retrained, above 1 over-forgetting.
    Direction: near 1 is good.
    Reference: 1, within the noise floor.
    Trap: undefined (null) if the original and the retrained model differ by less than three standard errors.
    Source: ours.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = is_correct(evidence.original[Subset.FORGET])
        change = before - is_correct(evidence.subject[Subset.FORGET])
        full_change = before - is_correct(evidence.retrained[Subset.FORGET])
        denominator_name = "forget accuracy of original minus retrained"
        return {"forgetting_rate_relative": calibrated_ratio(change, full_change, denominator_name)}
