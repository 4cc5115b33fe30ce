"""Accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import is_correct, keep_retained_classes
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class Accuracy(SampleMean):
    """Fraction of samples whose most probable class is the label: mean of [argmax_j z_j = y].

    If a request removes a class altogether (no retain sample has it), test accuracy is reported twice: over all
    classes, and over the retained classes alone, as in published tables. The average gap then uses the second. A model
    that does not know the class is wrong on its test samples, so the first falls by their fraction.

    Numbers: `forget_accuracy`, `retain_accuracy`, `test_accuracy`, over all classes; if classes are removed,
        `retained_test_accuracy`, without their test samples. Tables print unlearning accuracy, 1 - forget accuracy,
        next to the first.
    Range: 0 to 1.
    Direction: on forget the target is the retrained model's value; on retain and test high is good.
    Reference: the retrained model.
    Trap: a model generalises to samples it has forgotten, so the original and a retrained model may have the same
        forget accuracy.
    Source: standard in the field.
    """

    max_difference = 1.0
    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        subject = evidence.subject
        accuracies = {f"{subset}_accuracy": is_correct(predictions) for subset, predictions in subject.items()}
        accuracies |= {"unlearning_accuracy": 1 - is_correct(subject[Subset.FORGET])}
        retained = keep_retained_classes(subject, Subset.TEST)
        return accuracies if retained is None else accuracies | {"retained_test_accuracy": is_correct(retained)}
