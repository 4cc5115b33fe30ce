"""Unlearning degree, calibrated by retraining."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import calibrated, confidence
from unlearn.types import Measurement, Role, Subset


@dataclass(frozen=True)
class UnlearningDegreeCalibrated(Metric):
    """(s_0 - s) / (s_0 - s_r) on the perturbed forget set, s the mean probability of the true class.

    Numbers: `unlearning_degree_calibrated`.
    Range: any number, not clipped; 0 untouched, 1 like retrained.
    Direction: near 1 is good.
    Reference: 1, as far as the noise floor lets one tell.
    Trap: undefined, hence null, where original and retrained differ by less than three standard errors.
    Source: our choice.
    """

    subsets = (Subset.PERTURBED_FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)
    needs_spd_gan = True

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = confidence(evidence.original[Subset.PERTURBED_FORGET])
        lost = before - confidence(evidence.subject[Subset.PERTURBED_FORGET])
        wanted = before - confidence(evidence.retrained[Subset.PERTURBED_FORGET])
        what = "true-class confidence of original minus retrained"
        return {"unlearning_degree_calibrated": calibrated(lost, wanted, what)}
