"""Cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import cross_entropy, mean
from unlearn.types import Measurement, Subset


@dataclass(frozen=True)
class Loss(Metric):
    """Mean cross-entropy in nats, 0 to infinity, on forget, retain and test."""

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {f"{subset}_loss": mean(cross_entropy(found)) for subset, found in evidence.subject.items()}
