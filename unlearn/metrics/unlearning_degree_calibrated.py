"""Unlearning degree, calibrated by retraining."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import calibrated_ratio, confidence
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class UnlearningDegreeCalibrated(Metric):
    """(s_0 - s) / (s_0 - s_r) on the perturbed forget set, s the mean probability of the true class.

    Numbers: `unlearning_degree_calibrated`.
    Range: any number, not clipped; 0 for the original, 1 like retrained.
    Direction: near 1 is good.
    Reference: 1, within the noise floor.
    Trap: undefined (null) if the original and the retrained model differ by less than three standard errors.
    Source: ours.
    """

    subsets = (Subset.PERTURBED_FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)
    needs_spd_gan = True

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {"unlearning_degree_calibrated": degree(evidence, Subset.PERTURBED_FORGET)}


def degree(evidence: Evidence, subset: Subset) -> Measurement:
    """Return (s_0 - s) / (s_0 - s_r) on a subset, with s the mean probability of the true class."""
    before = confidence(evidence.original[subset])
    models = evidence.subject, evidence.retrained
    change, full_change = (before - confidence(model[subset]) for model in models)
    name = str(subset).replace("_", " ")
    return calibrated_ratio(change, full_change, f"true-class confidence of original minus retrained on the {name} set")
