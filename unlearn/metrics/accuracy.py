"""Accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import correct, mean
from unlearn.types import Measurement, Subset


@dataclass(frozen=True)
class Accuracy(Metric):
    """Share of samples whose most probable class is the label, 0-1, on forget, retain and test.

    The field's unlearning accuracy, 1 - forget accuracy, stands beside them.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        accuracies = {f"{subset}_accuracy": mean(correct(found)) for subset, found in evidence.subject.items()}
        return accuracies | {"unlearning_accuracy": mean(1 - correct(evidence.subject[Subset.FORGET]))}
