"""RMIA, the robust membership inference attack."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.roc import MembershipScores
from unlearn.attacks.shadow_models import (
    ShadowStatistics,
    compute_statistics,
    even_count,
    measure_scores,
    undefined_measurements,
)
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.core.validation import at_least, positive
from unlearn.functional.estimates import cross_entropy
from unlearn.metrics.evidence import Evidence, ShadowRequest


@dataclass(frozen=True)
class Rmia(Attack):
    """RMIA, online: does the model raise the probability of a sample more than that of non-members?

    Score: Pr_z[(p(x | theta) / p(x)) / (p(z | theta) / p(z)) >= gamma], with p(x | theta) the probability of the true
    class, p(x) its mean over all shadow models, half of which were trained with the sample, and z the holdout samples
    of the forget set's classes. Shadow models are those of `Lira`.

    Numbers: `mia_rmia_auc`, `mia_rmia_balanced_accuracy` (threshold 1/2), `mia_rmia_tpr_at_1pct_fpr`,
        `mia_rmia_tpr_at_01pct_fpr`.
    Range: 0 to 1; the true-positive rates are null with fewer than 10 / (false-positive rate) non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: if nets are sure of nearly everything, as on digits, hardly any ratio exceeds 1.
    Source: Zarifzadeh et al. 2024; gamma = 1 is ours, for that reason.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    direction = "a high score indicates membership; the higher the AUC, the better the attack identifies members"
    invalid_for = ("membership_loss",)

    models: int = even_count(16)  # number of shadow models
    gamma: float = positive(1.0)  # factor by which x must gain more than z
    bootstrap: int = at_least(100, 1000)  # resamples for the intervals

    @property
    def shadows(self) -> ShadowRequest:
        """Shadow models as they were trained."""
        return ShadowRequest(self.models)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        statistics = compute_statistics(evidence, _log_p)
        if statistics.too_few:
            measured = undefined_measurements(statistics, statistics.too_few)
        else:
            seed = stream_seed(evidence.seed, "rmia") % 2**32
            measured = measure_scores(fraction_outscored(statistics, self.gamma), statistics, 0.5, self.bootstrap, seed)
        return {f"mia_rmia_{name}": value for name, value in measured.items()}

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the fractions of outscored non-members as scores."""
        statistics = compute_statistics(evidence, _log_p)
        return {"mia_rmia": statistics.split_scores(fraction_outscored(statistics, self.gamma))}


def _log_p(predictions: Predictions) -> Tensor:
    return -cross_entropy(predictions)


def fraction_outscored(statistics: ShadowStatistics, gamma: float) -> Tensor:
    """Return the fraction of the non-members that each sample outscores by the factor `gamma`, float64 [n].

    It is computed in logarithms: log p(x) is the logsumexp over shadow models minus log M. If a non-member outscores
    itself, that counts half. All fractions have the same denominator: if nearly all are 0, another denominator would
    rank by itself.

    Args:
        statistics: the statistic log p of all models.
        gamma: the factor.
    """
    gain = statistics.subject - (statistics.shadows.logsumexp(0) - math.log(len(statistics.shadows)))
    others, needed = gain[~statistics.members].sort().values, gain - math.log(gamma)
    below = torch.searchsorted(others, needed, right=True)
    is_self = ~statistics.members & (gain <= needed)
    return (below - 0.5 * is_self.double()) / len(others)
