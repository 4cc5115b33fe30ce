"""Accuracy on the samples whose labels were corrected."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import correct
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class CorrectedAccuracy(SampleMean):
    """Share of the relabelled samples whose most probable class is the right label.

    Numbers: `corrected_accuracy`.
    Range: 0 to 1.
    Direction: high is good.
    Reference: the retrained model, which learnt the right labels.
    Trap: forget accuracy is that of the same samples under the wrong labels, which the original was trained on.
    Source: our choice.
    """

    widest = 1.0
    subsets = (Subset.RELABELLED,)
    needs_relabel = True

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        return {"corrected_accuracy": correct(evidence.subject[Subset.RELABELLED])}
