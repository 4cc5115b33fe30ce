"""The calibrated unlearning degree where there is nothing to unlearn."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.metrics.evidence import Evidence, Metric
from unlearn.metrics.unlearning_degree_calibrated import degree


@dataclass(frozen=True)
class UnlearningDegreeHoldout(Metric):
    """(s_0 - s) / (s_0 - s_r) on holdout images that were moved as the forget set was: the calibrated degree's control.

    s is the mean probability of the true class. No model learnt these images: what original and retrained differ in
    here is how images look that were moved, not whose they are.

    Numbers: `unlearning_degree_holdout`.
    Range: any number, not clipped; 0 untouched, 1 like retrained.
    Direction: none.
    Reference: the calibrated degree beside it: a control as high as that tells that the look was forgotten.
    Trap: undefined, hence null, where original and retrained differ by less than three standard errors: then the degree
        on the forget set speaks of its samples.
    Source: our choice.
    """

    subsets = (Subset.PERTURBED_HOLDOUT,)
    references = (Role.ORIGINAL, Role.RETRAINED)
    needs_spd_gan = True

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {"unlearning_degree_holdout": degree(evidence, Subset.PERTURBED_HOLDOUT)}
