"""Accuracy on the samples whose labels were corrected."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import is_correct
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class CorrectedAccuracy(SampleMean):
    """Fraction of the relabelled samples whose most probable class is the right label.

    Numbers: `corrected_accuracy`.
    Range: 0 to 1.
    Direction: high is good.
    Reference: the retrained model, which was trained on the right labels.
    Trap: forget accuracy uses the same samples under the wrong labels, on which the original was trained.
    Source: ours.
    """

    max_difference = 1.0
    subsets = (Subset.RELABELLED,)
    needs_relabel = True

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        return {"corrected_accuracy": is_correct(evidence.subject[Subset.RELABELLED])}
