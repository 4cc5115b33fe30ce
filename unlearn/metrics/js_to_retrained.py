"""Distance from the retrained model's predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Role, Subset
from unlearn.functional.divergence import js_mixture
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class JsToRetrained(SampleMean):
    """Mean over D_f of the Jensen-Shannon divergence KL(p||m) / 2 + KL(p_r||m) / 2, m = (p + p_r) / 2, in nats.

    Numbers: `js_to_retrained`.
    Range: 0 to ln 2; 0 for equal predictions.
    Direction: low is good; it rises both with too little and with too much forgetting.
    Reference: the noise floor, the value between two retrained models, which is not 0.
    Trap: torch's `kl_div` with `reduction="mean"` is the reversed divergence divided by the number of classes.
    Source: ours.
    """

    max_difference = math.log(2)
    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        retrained = evidence.retrained[Subset.FORGET]
        return {"js_to_retrained": js_mixture(evidence.subject[Subset.FORGET].logits, retrained.logits)}
