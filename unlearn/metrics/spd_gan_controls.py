"""What SPD-GAN's numbers must be read beside."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.statistics import correct, mean
from unlearn.types import Evidence, Measurement, Metric, Subset


@dataclass(frozen=True)
class SpdGanControls(Metric):
    """Accuracy 0-1 on the perturbed forget set and on its three controls (our choice).

    `perturbed_holdout` was moved alike but never trained on: an original that is right there as well knows the
    marked distribution rather than the samples. `noisy_forget` carries random noise as large as SPD-GAN's shift.
    `clean_forget` is D_f before it was marked.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT, Subset.NOISY_FORGET, Subset.CLEAN_FORGET)
    needs_spd_gan = True

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        names = {Subset.FORGET: "perturbed_forget", Subset.HOLDOUT: "perturbed_holdout"}
        return {
            f"{names.get(subset, subset)}_accuracy": mean(correct(found)) for subset, found in evidence.subject.items()
        }
