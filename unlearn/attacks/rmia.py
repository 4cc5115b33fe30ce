"""RMIA."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.roc import MembershipScores
from unlearn.attacks.shadow_models import ShadowStatistics, even_count, measure_scores, shadow_statistics, undefined
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.core.validation import at_least, positive
from unlearn.functional.estimates import cross_entropy
from unlearn.metrics.evidence import Evidence, ShadowRequest


@dataclass(frozen=True)
class Rmia(Attack):
    """The robust membership inference attack: does a sample gain more by the model than others of its kind do?

    Score: Pr_z[(p(x | theta) / p(x)) / (p(z | theta) / p(z)) >= gamma], p the probability of the true class, p(.) its
    mean over all shadow models, of which half learnt the sample (the online form), z the holdout samples of the forget
    set's classes. Shadow models are those of `Lira`.

    Numbers: `mia_rmia_auc`, `mia_rmia_balanced_accuracy` (border 1/2), `mia_rmia_tpr_at_1pct_fpr`,
        `mia_rmia_tpr_at_01pct_fpr`.
    Range: 0 to 1; the rates are null with fewer than 10 / rate non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: where nets are sure of nearly everything, as on digits, hardly a ratio gets any further than 1.
    Source: Zarifzadeh et al. 2024; gamma = 1 is ours, for that reason.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    direction = "a high score speaks for membership; the higher the AUC, the better members are told"
    invalid_for = ("membership_loss",)

    models: int = even_count(16)  # shadow models
    gamma: float = positive(1.0)  # how much more x must gain than z
    bootstrap: int = at_least(100, 1000)  # resamples for the intervals

    @property
    def shadows(self) -> ShadowRequest:
        """As trained."""
        return ShadowRequest(self.models)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        found = shadow_statistics(evidence, _log_p)
        if found.lack:
            measured = undefined(found, found.lack)
        else:
            seed = stream_seed(evidence.seed, "rmia") % 2**32
            measured = measure_scores(fraction_outscored(found, self.gamma), found, 0.5, self.bootstrap, seed)
        return {f"mia_rmia_{name}": value for name, value in measured.items()}

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """By the share that is outdone."""
        found = shadow_statistics(evidence, _log_p)
        return {"mia_rmia": found.ranked(fraction_outscored(found, self.gamma))}


def _log_p(predictions: Predictions) -> Tensor:
    return -cross_entropy(predictions)


def fraction_outscored(found: ShadowStatistics, gamma: float) -> Tensor:
    """Share of the non-members that each sample outdoes by `gamma`, float64 [n]; the statistic is log p.

    In logarithms: log p(x) is the logsumexp over shadow models less log M. Where a non-member outdoes itself that
    counts half. All shares have the same denominator: where nearly all are 0 another one would rank by itself.
    """
    gain = found.subject - (found.shadows.logsumexp(0) - math.log(len(found.shadows)))
    others, needed = gain[~found.members].sort().values, gain - math.log(gamma)
    below = torch.searchsorted(others, needed, right=True)
    itself = ~found.members & (gain <= needed)
    return (below - 0.5 * itself.double()) / len(others)
