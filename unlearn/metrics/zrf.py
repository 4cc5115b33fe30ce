"""Zero retrain forgetting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Role, Subset
from unlearn.functional.divergence import js_mixture
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class Zrf(SampleMean):
    """ZRF = 1 - mean JS(p, p_random) / ln 2 on D_f: similarity to a net of random weights.

    Numbers: `zrf`.
    Range: 0 to 1; 1 for the predictions of a net of random weights.
    Direction: none; the target is the retrained model's value.
    Reference: the retrained model, although the computation does not use it.
    Trap: 1 means over-forgetting: a retrained model generalises to D_f and does not predict like a random net.
    Source: Chundawat et al. 2023, "Can bad teaching induce forgetting?"; dividing by ln 2 makes the range 0 to 1
        whatever the logarithm (ours).
    """

    max_difference = 1.0
    subsets = (Subset.FORGET,)
    references = (Role.UNTRAINED,)

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        subject, random = evidence.subject[Subset.FORGET], evidence.untrained[Subset.FORGET]
        return {"zrf": (1 - js_mixture(subject.logits, random.logits) / math.log(2)).clamp(0, 1)}
