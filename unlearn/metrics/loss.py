"""Cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import cross_entropy
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class Loss(SampleMean):
    """Mean cross-entropy -ln p_y in nats.

    Numbers: `forget_loss`, `retain_loss`, `test_loss`.
    Range: 0 to infinity.
    Direction: on forget right is the retrained model's value; on retain and test low is good.
    Reference: the retrained model.
    Trap: one sample that is wrong with confidence moves the mean more than many that were forgotten.
    Source: the field's.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        return {f"{subset}_loss": cross_entropy(found) for subset, found in evidence.subject.items()}
