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
    """Share of samples whose most probable class is the label, 0-1, on forget, retain and test.

    The field's unlearning accuracy, 1 - forget accuracy, stands beside them.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        accuracies = {f"{subset}_accuracy": correct(found) for subset, found in evidence.subject.items()}
        return accuracies | {"unlearning_accuracy": 1 - correct(evidence.subject[Subset.FORGET])}
