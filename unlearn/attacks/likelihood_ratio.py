"""Likelihood ratios of a sample's margin, under Gaussians fitted to shadow models trained with and without it."""

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
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least
from unlearn.functional.logit_margin import logit_margin
from unlearn.metrics.evidence import Evidence

MIN_VARIANCE = 1e-12  # shadow models that all agree would make the ratio infinite


@dataclass(frozen=True)
class LikelihoodRatio(Attack):
    """Base class of `Lira` and `ULira`: ranks samples by a likelihood ratio."""

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    direction = "a high score indicates membership; the higher the AUC, the better the attack identifies members"

    models: int = even_count(16)  # number of shadow models
    own_variance_from: int = at_least(4, 64)  # with at least so many models each sample has its own variances
    bootstrap: int = at_least(100, 1000)  # resamples for the intervals

    def ratios(self, evidence: Evidence, name: str, forgotten: bool) -> dict[str, Measurement]:
        """Measure the ranking by likelihood ratios.

        Args:
            evidence: the subject and the shadow models.
            name: of the attack, for seeds and the names of its numbers.
            forgotten: whether the "in" models are those that forgot the sample; else those that learnt it.
        """
        statistics = compute_statistics(evidence, logit_margin)
        if statistics.too_few:
            measured = undefined_measurements(statistics, statistics.too_few)
        else:
            scores = self._scores(statistics, forgotten)
            seed = stream_seed(evidence.seed, name) % 2**32
            measured = measure_scores(scores, statistics, 0.0, self.bootstrap, seed)
        return {f"mia_{name}_{key}": value for key, value in measured.items()}

    def ranked(self, evidence: Evidence, name: str, forgotten: bool) -> dict[str, MembershipScores]:
        """Return the same ratios as scores of members and non-members."""
        statistics = compute_statistics(evidence, logit_margin)
        return {f"mia_{name}": statistics.split_scores(self._scores(statistics, forgotten))}

    def _scores(self, statistics: ShadowStatistics, forgotten: bool) -> Tensor:
        return log_ratio(statistics, forgotten, len(statistics.shadows) >= self.own_variance_from)


def log_ratio(statistics: ShadowStatistics, forgotten: bool, own_variance: bool) -> Tensor:
    """Return log N(phi; mu_in, v_in) - log N(phi; mu_out, v_out) of each sample, float64 [n]."""
    inside = statistics.forgot if forgotten else statistics.learnt
    (mu_in, v_in), (mu_out, v_out) = (
        _fit_gaussian(statistics.shadows, mask, own_variance) for mask in (inside, ~statistics.learnt)
    )
    return _log_density(statistics.subject, mu_in, v_in) - _log_density(statistics.subject, mu_out, v_out)


def _fit_gaussian(values: Tensor, mask: Tensor, own_variance: bool) -> tuple[Tensor, Tensor]:
    """Return the mean and unbiased variance of the masked values of each column of [M, n]; [n] each.

    The variance is the column's own, or the mean over all columns weighted by their degrees of freedom.
    """
    count = mask.sum(0)
    mean = (values * mask).sum(0) / count
    squares, freedom = ((values - mean).square() * mask).sum(0), count - 1
    variance = squares / freedom if own_variance else (squares.sum() / freedom.sum()).expand_as(mean)
    return mean, variance.clamp(min=MIN_VARIANCE)


def _log_density(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((values - mean).square() / variance + torch.log(2 * math.pi * variance))
