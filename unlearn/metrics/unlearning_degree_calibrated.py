"""Unlearning degree, calibrated by retraining."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import calibrated, confidence
from unlearn.metrics.evidence import Evidence, Metric


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
        return {"unlearning_degree_calibrated": degree(evidence, Subset.PERTURBED_FORGET)}


def degree(evidence: Evidence, subset: Subset) -> Measurement:
    """(s_0 - s) / (s_0 - s_r) on a subset, s the mean probability of the true class."""
    before = confidence(evidence.original[subset])
    lost, wanted = (before - confidence(seen[subset]) for seen in (evidence.subject, evidence.retrained))
    where = str(subset).replace("_", " ")
    return calibrated(lost, wanted, f"true-class confidence of original minus retrained on the {where} set")
