"""Unlearning degree."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn.evidence import Evidence
from unlearn.metrics.base import SampleMean
from unlearn.statistics import confidence, correct, cross_entropy
from unlearn.types import Role, Subset


@dataclass(frozen=True)
class UnlearningDegree(SampleMean):
    """s(theta_0) - s(theta) on the perturbed forget set: 0 untouched; what is right is the retrained model's value.

    That the degree is the difference of performance on perturbed data before and after unlearning is the paper's
    [P]; the statistic s is ours: the mean probability of the true class (-1 to 1), with accuracy beside it
    (`unlearning_degree_accuracy`) and the loss, its sign turned, as a diagnostic (`unlearning_degree_loss`).
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
