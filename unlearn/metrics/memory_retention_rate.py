"""Memory retention rate."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import correct, ratio_of_means
from unlearn.types import Measurement, Role, Subset


@dataclass(frozen=True)
class MemoryRetentionRate(Metric):
    """MRR = A(theta, D_r) / A(theta_0, D_r), and the same on test: 1 as good as the original, 0 nothing kept.

    The paper has a memory retention rate on remaining data [P]; its formula is not known, this one is ours.
    """

    subsets = (Subset.RETAIN, Subset.TEST)
    references = (Role.ORIGINAL,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        original = evidence.original
        names = {Subset.RETAIN: "memory_retention_rate", Subset.TEST: "memory_retention_rate_test"}
        return {
            name: ratio_of_means(
                correct(evidence.subject[subset]), correct(original[subset]), f"the original's {subset} accuracy"
            )
            for subset, name in names.items()
        }
