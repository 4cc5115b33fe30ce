"""What SPD-GAN's numbers must be read beside."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Subset
from unlearn.functional.estimates import correct
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class SpdGanControls(SampleMean):
    """Accuracy on the perturbed forget set and on its three controls.

    Numbers: `perturbed_forget_accuracy`; `perturbed_holdout_accuracy`, moved alike but never trained on;
        `noisy_forget_accuracy`, with random noise as large as SPD-GAN's shift; `clean_forget_accuracy`, D_f as it came.
    Range: 0 to 1.
    Direction: on the first right is the retrained model's value; the others have none.
    Reference: the retrained model, and each control beside the first.
    Trap: what the original knows or loses on the perturbed holdout set as well is no memory of samples.
    Source: our choice.
    """

    widest = 1.0
    subsets = (Subset.PERTURBED_FORGET, Subset.PERTURBED_HOLDOUT, Subset.NOISY_FORGET, Subset.CLEAN_FORGET)
    needs_spd_gan = True

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        return {f"{subset}_accuracy": correct(found) for subset, found in evidence.subject.items()}
