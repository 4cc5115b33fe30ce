"""Distance from the retrained model's predictions."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.divergence import js_mixture
from unlearn.evidence import Evidence, Metric
from unlearn.statistics import mean
from unlearn.types import Measurement, Role, Subset


@dataclass(frozen=True)
class JsToRetrained(Metric):
    """Mean Jensen-Shannon divergence of the predictions on D_f from the retrained model's, in nats, 0 to ln 2.

    The one number that punishes forgetting too little and too much alike (our choice).
    """

    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        retrained = evidence.retrained[Subset.FORGET]
        return {"js_to_retrained": mean(js_mixture(evidence.subject[Subset.FORGET].logits, retrained.logits))}
