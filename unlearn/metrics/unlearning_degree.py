"""Unlearning degree."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Role, Subset
from unlearn.functional.estimates import confidence, cross_entropy, is_correct
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class UnlearningDegree(SampleMean):
    """s(theta_0) - s(theta) on the perturbed forget set, s the mean probability of the true class.

    Numbers: `unlearning_degree`; `unlearning_degree_accuracy`, with accuracy as s; `unlearning_degree_loss`, with the
        negative loss as s, a diagnostic.
    Range: -1 to 1, -1 to 1, any number; 0 for the original.
    Direction: none; the target is the retrained model's value.
    Reference: the retrained model, and the same number on the perturbed holdout set.
    Trap: a model that was in the generator's training loop differs from one that was not, whatever it remembers.
    Source: the paper defines the degree as the difference of performance on perturbed data before and after
        unlearning [P]; the statistics are ours.
    """

    subsets = (Subset.PERTURBED_FORGET,)
    references = (Role.ORIGINAL,)
    needs_spd_gan = True

    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        before, after = evidence.original[Subset.PERTURBED_FORGET], evidence.subject[Subset.PERTURBED_FORGET]
        return {
            "unlearning_degree": confidence(before) - confidence(after),
            "unlearning_degree_accuracy": is_correct(before) - is_correct(after),
            "unlearning_degree_loss": cross_entropy(after) - cross_entropy(before),
        }
