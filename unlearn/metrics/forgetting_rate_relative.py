"""Forgetting rate, relative to retraining."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import calibrated, correct
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class ForgettingRateRelative(Metric):
    """(A_0 - A) / (A_0 - A_r) on D_f, the share of the way from the original's accuracy to a retrained model's.

    Numbers: `forgetting_rate_relative`.
    Range: any number; 0 untouched, 1 like retrained, above 1 over-forgetting.
    Direction: near 1 is good.
    Reference: 1, as far as the noise floor lets one tell.
    Trap: undefined, hence null, where original and retrained differ by less than three standard errors.
    Source: our choice.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = correct(evidence.original[Subset.FORGET])
        lost = before - correct(evidence.subject[Subset.FORGET])
        wanted = before - correct(evidence.retrained[Subset.FORGET])
        what = "forget accuracy of original minus retrained"
        return {"forgetting_rate_relative": calibrated(lost, wanted, what)}
