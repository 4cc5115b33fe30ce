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
    Direction: on forget the target is the retrained model's value; on retain and test low is good.
    Reference: the retrained model.
    Trap: one sample that is wrong with high confidence moves the mean more than many forgotten samples do.
    Source: standard in the field.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        return {f"{subset}_loss": cross_entropy(predictions) for subset, predictions in evidence.subject.items()}
