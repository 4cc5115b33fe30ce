"""Zero retrain forgetting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from unlearn.divergence import js_mixture
from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.types import Role, Subset


@dataclass(frozen=True)
class Zrf(SampleMean):
    """ZRF = 1 - mean JS(p, p_random) / ln 2 on D_f, 0-1: 1 as a net of random weights says, 0 nothing in common.

    Chundawat et al. 2023, "Can bad teaching induce forgetting?"; dividing by ln 2 makes the range 0-1 whatever the
    logarithm (ours). It needs no retrained model, yet that one's value is the right one: 1 would be over-forgetting.
    """

    subsets = (Subset.FORGET,)
    references = (Role.UNTRAINED,)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        mine, random = evidence.subject[Subset.FORGET], evidence.untrained[Subset.FORGET]
        return {"zrf": (1 - js_mixture(mine.logits, random.logits) / math.log(2)).clamp(0, 1)}
