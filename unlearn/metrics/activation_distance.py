"""Distance from the retrained model's probabilities."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.types import Role, Subset


@dataclass(frozen=True)
class ActivationDistance(SampleMean):
    """Mean over D_f of ||p - p_r||_2, the distance of predicted probabilities: 0 like retrained, at most sqrt 2.

    As the survey of Nguyen et al. 2022 has it. Two retrained models are not at 0 from each other: read the noise
    floor.
    """

    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        mine, wanted = (
            seen[Subset.FORGET].logits.double().softmax(1) for seen in (evidence.subject, evidence.retrained)
        )
        return {"activation_distance": (mine - wanted).norm(dim=1)}
