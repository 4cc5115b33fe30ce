"""Distance from the retrained model's predictions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.divergence import js_mixture
from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.types import Role, Subset


@dataclass(frozen=True)
class JsToRetrained(SampleMean):
    """Mean Jensen-Shannon divergence of the predictions on D_f from the retrained model's, in nats, 0 to ln 2.

    The one number that punishes forgetting too little and too much alike (our choice).
    """

    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        retrained = evidence.retrained[Subset.FORGET]
        return {"js_to_retrained": js_mixture(evidence.subject[Subset.FORGET].logits, retrained.logits)}
