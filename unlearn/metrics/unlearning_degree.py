"""Unlearning degree."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.core.types import Role, Subset
from unlearn.functional.estimates import confidence, correct, cross_entropy
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class UnlearningDegree(SampleMean):
    """s(theta_0) - s(theta) on the perturbed forget set, s the mean probability of the true class.

    Numbers: `unlearning_degree`; with accuracy as s `unlearning_degree_accuracy`; with the loss, its sign turned, as a
        diagnostic `unlearning_degree_loss`.
    Range: -1 to 1, -1 to 1, any number; 0 untouched.
    Direction: none; right is the retrained model's value.
    Reference: the retrained model, and the same on the perturbed holdout set.
    Trap: a model in the generator's loop differs from one that was not, whatever it remembers.
    Source: that the degree is the difference of performance on perturbed data before and after unlearning is the
        paper's [P]; the statistics are ours.
    """

    subsets = (Subset.PERTURBED_FORGET,)
    references = (Role.ORIGINAL,)
    needs_spd_gan = True

    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        before, after = evidence.original[Subset.PERTURBED_FORGET], evidence.subject[Subset.PERTURBED_FORGET]
        return {
            "unlearning_degree": confidence(before) - confidence(after),
            "unlearning_degree_accuracy": correct(before) - correct(after),
            "unlearning_degree_loss": cross_entropy(after) - cross_entropy(before),
        }
