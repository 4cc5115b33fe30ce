"""Accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import correct, retained_classes
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class Accuracy(SampleMean):
    """Share of samples whose most probable class is the label: mean of [argmax_j z_j = y].

    Where a request removes a class altogether (of its forget samples' labels, no retain sample has it), test accuracy
    is given twice: over all classes, and over the retained classes alone, as the field's tables have it. The average
    gap then holds the second. A model without the class cannot be right on its test samples, so that the first falls
    by as much as there are of them.

    Numbers: `forget_accuracy`, `retain_accuracy`, `test_accuracy`, over all classes; where classes vanish
        `retained_test_accuracy`, without their test samples; tables print 1 - forget accuracy, the field's unlearning
        accuracy, next to the first.
    Range: 0 to 1.
    Direction: on forget right is the retrained model's value; on retain and test high is good.
    Reference: the retrained model.
    Trap: a model generalises to what it forgot, so on forget the original and a retrained model may be equally right.
    Source: the field's.
    """

    widest = 1.0
    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        subject = evidence.subject
        accuracies = {f"{subset}_accuracy": correct(predictions) for subset, predictions in subject.items()}
        accuracies |= {"unlearning_accuracy": 1 - correct(subject[Subset.FORGET])}
        retained = retained_classes(subject, Subset.TEST)
        return accuracies if retained is None else accuracies | {"retained_test_accuracy": correct(retained)}
