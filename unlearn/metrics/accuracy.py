"""Accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.statistics import correct
from unlearn.types import Subset


@dataclass(frozen=True)
class Accuracy(SampleMean):
    """Share of samples whose most probable class is the label: mean of [argmax_j z_j = y].

    Numbers: `forget_accuracy`, `retain_accuracy`, `test_accuracy`; tables print 1 - forget accuracy, the field's
        unlearning accuracy, beside the first.
    Range: 0 to 1.
    Direction: on forget right is the retrained model's value; on retain and test high is good.
    Reference: the retrained model.
    Trap: a model generalises to what it forgot, so on forget the original and a retrained model may be equally right.
    Source: the field's.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        accuracies = {f"{subset}_accuracy": correct(found) for subset, found in evidence.subject.items()}
        return accuracies | {"unlearning_accuracy": 1 - correct(evidence.subject[Subset.FORGET])}
