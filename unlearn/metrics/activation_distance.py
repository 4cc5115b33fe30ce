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
    """Mean over D_f of ||p - p_r||_2, the Euclidean distance of predicted probabilities from a retrained model's.

    Numbers: `activation_distance`.
    Range: 0 to sqrt 2; 0 for equal predictions.
    Direction: low is good.
    Reference: the noise floor, the distance between two retrained models, which is not 0.
    Trap: if a model is in train mode, equal weights give a large distance; here both are in eval mode.
    Source: the survey of Nguyen et al. 2022.
    """

    max_difference = math.sqrt(2)
    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        models = evidence.subject, evidence.retrained
        subject, retrained = (model[Subset.FORGET].logits.double().softmax(1) for model in models)
        return {"activation_distance": (subject - retrained).norm(dim=1)}
