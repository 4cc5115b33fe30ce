"""Cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.statistics import cross_entropy
from unlearn.types import Subset


@dataclass(frozen=True)
class Loss(SampleMean):
    """Mean cross-entropy in nats, 0 to infinity, on forget, retain and test."""

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        return {f"{subset}_loss": cross_entropy(found) for subset, found in evidence.subject.items()}
