"""Memory retention rate."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import is_correct, ratio_of_means
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class MemoryRetentionRate(Metric):
    """MRR = A(theta, D_r) / A(theta_0, D_r), the fraction of retain accuracy that was kept.

    Numbers: `memory_retention_rate`, `memory_retention_rate_test`.
    Range: 0 to 1, above 1 if accuracy rose.
    Direction: high is good.
    Reference: the retrained model's value.
    Trap: on retain it is near 1 for every model that was fine-tuned on the retain set; test is more informative.
    Source: the paper reports a memory retention rate on remaining data [P]; its formula is not known, this one is ours.
    """

    subsets = (Subset.RETAIN, Subset.TEST)
    references = (Role.ORIGINAL,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        original = evidence.original
        names = {Subset.RETAIN: "memory_retention_rate", Subset.TEST: "memory_retention_rate_test"}
        return {
            name: ratio_of_means(
                is_correct(evidence.subject[subset]), is_correct(original[subset]), f"the original's {subset} accuracy"
            )
            for subset, name in names.items()
        }
