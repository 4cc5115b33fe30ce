"""What SPD-GAN's numbers must be read beside."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.statistics import correct
from unlearn.types import Subset


@dataclass(frozen=True)
class SpdGanControls(SampleMean):
    """Accuracy 0-1 on the perturbed forget set and on its three controls (our choice).

    `perturbed_holdout` was moved alike but never trained on: what the original knows or loses there as well is no
    memory of samples. `noisy_forget` carries random noise as large as SPD-GAN's shift. `clean_forget` is D_f as it
    came.
    """

    subsets = (Subset.PERTURBED_FORGET, Subset.PERTURBED_HOLDOUT, Subset.NOISY_FORGET, Subset.CLEAN_FORGET)
    needs_spd_gan = True

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        return {f"{subset}_accuracy": correct(found) for subset, found in evidence.subject.items()}
