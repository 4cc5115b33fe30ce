"""Accuracy on the samples whose labels were corrected."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.evidence import Evidence, Metric
from unlearn.statistics import correct, mean
from unlearn.types import Measurement, Subset


@dataclass(frozen=True)
class CorrectedAccuracy(Metric):
    """Share of the relabelled samples whose most probable class is the right label, 0-1 [ours].

    Forget accuracy is that of the same samples under the wrong labels that the original was trained on.
    """

    subsets = (Subset.RELABELLED,)
    needs_relabel = True

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {"corrected_accuracy": mean(correct(evidence.subject[Subset.RELABELLED]))}
