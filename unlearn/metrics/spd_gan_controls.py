"""Accuracies to compare SPD-GAN's numbers with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import is_correct
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class SpdGanControls(SampleMean):
    """Accuracy on the perturbed forget set and on its three controls.

    Numbers: `perturbed_forget_accuracy`; `perturbed_holdout_accuracy`, on images perturbed in the same way but never
        trained on; `noisy_forget_accuracy`, with random noise as large as SPD-GAN's shift; `clean_forget_accuracy`, on
        D_f without perturbation.
    Range: 0 to 1.
    Direction: the target of the first is the retrained model's value; the others have none.
    Reference: the retrained model, and the three controls.
    Trap: what the original also knows or loses on the perturbed holdout set is not memory of samples.
    Source: ours.
    """

    max_difference = 1.0
    subsets = (Subset.PERTURBED_FORGET, Subset.PERTURBED_HOLDOUT, Subset.NOISY_FORGET, Subset.CLEAN_FORGET)
    needs_spd_gan = True

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        return {f"{subset}_accuracy": is_correct(predictions) for subset, predictions in evidence.subject.items()}
