"""Cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.statistics import cross_entropy, mean
from unlearn.types import Measurement, Metric, Predictions, Role, Subset


@dataclass(frozen=True)
class Loss(Metric):
    """Mean cross-entropy in nats, 0 to infinity, on forget, retain and test."""

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def measure(
        self,
        subject: Mapping[Subset, Predictions],
        references: Mapping[Role, Mapping[Subset, Predictions]],
        seed: int,
    ) -> dict[str, Measurement]:
        return {f"{subset}_loss": mean(cross_entropy(found)) for subset, found in subject.items()}
