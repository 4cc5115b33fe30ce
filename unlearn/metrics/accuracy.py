"""Accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.statistics import correct, mean
from unlearn.types import Evidence, Measurement, Metric, Subset


@dataclass(frozen=True)
class Accuracy(Metric):
    """Share of samples whose most probable class is the label, 0-1, on forget, retain and test."""

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {f"{subset}_accuracy": mean(correct(found)) for subset, found in evidence.subject.items()}
