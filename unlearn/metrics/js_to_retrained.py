"""Distance from the retrained model's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.divergence import js_mixture
from unlearn.statistics import mean
from unlearn.types import Measurement, Metric, Predictions, Role, Subset


@dataclass(frozen=True)
class JsToRetrained(Metric):
    """Mean Jensen-Shannon divergence of the predictions on D_f from the retrained model's, in nats, 0 to ln 2.

    The one number that punishes forgetting too little and too much alike (our choice).
    """

    subsets = (Subset.FORGET,)
    references = (Role.RETRAINED,)

    def measure(
        self,
        subject: Mapping[Subset, Predictions],
        references: Mapping[Role, Mapping[Subset, Predictions]],
        seed: int,
    ) -> dict[str, Measurement]:
        retrained = references[Role.RETRAINED][Subset.FORGET]
        return {"js_to_retrained": mean(js_mixture(subject[Subset.FORGET].logits, retrained.logits))}
