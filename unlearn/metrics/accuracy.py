"""Accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn.statistics import correct, mean
from unlearn.types import Measurement, Metric, Predictions, Role, Subset


@dataclass(frozen=True)
class Accuracy(Metric):
    """Share of samples whose most probable class is the label, 0-1, on forget, retain and test."""

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    def measure(
        self,
        subject: Mapping[Subset, Predictions],
        references: Mapping[Role, Mapping[Subset, Predictions]],
        seed: int,
    ) -> dict[str, Measurement]:
        return {f"{subset}_accuracy": mean(correct(found)) for subset, found in subject.items()}
