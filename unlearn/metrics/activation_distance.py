"""Distance from the retrained model's probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Role, Subset
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class ActivationDistance(SampleMean):
    """Mean over D_f of ||p - p_r||_2, the distance of predicted probabilities from a retrained model's.

    Numbers: `activation_distance`.
    Range: 0 to sqrt 2; 0 for equal predictions.
    Direction: low is good.
    Reference: retrained models among each other, the noise floor, which is not 0.
    Trap: with either model in train mode, equal weights are far from 0; here both are in eval mode.
    Source: the survey of Nguyen et al. 2022.
    """

    widest = math.sqrt(2)
    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        mine, wanted = (
            seen[Subset.FORGET].logits.double().softmax(1) for seen in (evidence.subject, evidence.retrained)
        )
        return {"activation_distance": (mine - wanted).norm(dim=1)}
