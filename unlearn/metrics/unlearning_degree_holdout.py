"""The calibrated unlearning degree on holdout images, which no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.metrics.evidence import Evidence, Metric
from unlearn.metrics.unlearning_degree_calibrated import degree


@dataclass(frozen=True)
class UnlearningDegreeHoldout(Metric):
    """(s_0 - s) / (s_0 - s_r) on holdout images that are perturbed like the forget set: a control.

    s is the mean probability of the true class. No model was trained on these images, so a difference between the
    original and the retrained model here comes from the look of perturbed images, not from memory of single samples.

    Numbers: `unlearning_degree_holdout`.
    Range: any number, not clipped; 0 for the original, 1 like retrained.
    Direction: none.
    Reference: the calibrated degree on the forget set: a control as high as that means that the look was forgotten.
    Trap: undefined (null) if the original and the retrained model differ by less than three standard errors; then the
        degree on the forget set measures memory of its samples.
    Source: ours.
    """

    subsets = (Subset.PERTURBED_HOLDOUT,)
    references = (Role.ORIGINAL, Role.RETRAINED)
    needs_spd_gan = True

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {"unlearning_degree_holdout": degree(evidence, Subset.PERTURBED_HOLDOUT)}
