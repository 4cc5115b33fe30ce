"""Unlearning degree, calibrated by retraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.statistics import calibrated, confidence
from unlearn.types import Measurement, Metric, Predictions, Role, Subset


@dataclass(frozen=True)
class UnlearningDegreeCalibrated(Metric):
    """(s_0 - s) / (s_0 - s_r) on the perturbed forget set: 0 untouched, 1 like retrained; not clipped (our choice).

    s is the mean probability of the true class. Undefined where original and retrained differ by less than three
    standard errors.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)
    needs_spd_gan = True

    def measure(
        self,
        subject: Mapping[Subset, Predictions],
        references: Mapping[Role, Mapping[Subset, Predictions]],
        seed: int,
    ) -> dict[str, Measurement]:
        before = confidence(references[Role.ORIGINAL][Subset.FORGET])
        lost = before - confidence(subject[Subset.FORGET])
        wanted = before - confidence(references[Role.RETRAINED][Subset.FORGET])
        what = "true-class confidence of original minus retrained"
        return {"unlearning_degree_calibrated": calibrated(lost, wanted, what)}
