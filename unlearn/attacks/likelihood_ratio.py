"""Likelihood ratios of a sample's margin, under Gaussians fitted to shadow models that saw it and that did not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.roc import MembershipScores
from unlearn.attacks.shadow_models import ShadowStatistics, even_count, measure_scores, shadow_statistics, undefined
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least
from unlearn.functional.logit_margin import logit_margin
from unlearn.metrics.evidence import Evidence

SMALLEST = 1e-12  # variance; shadow models that all agree would make the ratio infinite


@dataclass(frozen=True)
class LikelihoodRatio(Attack):
    """What `Lira` and `ULira` share."""

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    direction = "a high score speaks for membership; the higher the AUC, the better members are told"

    models: int = even_count(16)  # shadow models
    own_variance_from: int = at_least(4, 64)  # models from which on each sample has variances of its own
    bootstrap: int = at_least(100, 1000)  # resamples for the intervals

    def ratios(self, evidence: Evidence, name: str, forgotten: bool) -> dict[str, Measurement]:
        """Of the subject's margins, with those shadow models as "in" that `forgotten` the sample, or that learnt it."""
        found = shadow_statistics(evidence, logit_margin)
        if found.lack:
            measured = undefined(found, found.lack)
        else:
            scores = self._scores(found, forgotten)
            seed = stream_seed(evidence.seed, name) % 2**32
            measured = measure_scores(scores, found, 0.0, self.bootstrap, seed)
        return {f"mia_{name}_{key}": value for key, value in measured.items()}

    def ranked(self, evidence: Evidence, name: str, forgotten: bool) -> dict[str, MembershipScores]:
        """By these ratios."""
        found = shadow_statistics(evidence, logit_margin)
        return {f"mia_{name}": found.ranked(self._scores(found, forgotten))}

    def _scores(self, found: ShadowStatistics, forgotten: bool) -> Tensor:
        return log_ratio(found, forgotten, len(found.shadows) >= self.own_variance_from)


def log_ratio(found: ShadowStatistics, forgotten: bool, own_variance: bool) -> Tensor:
    """log N(phi; mu_in, v_in) - log N(phi; mu_out, v_out) of each sample, float64 [n]."""
    inside = found.forgot if forgotten else found.learnt
    (mu_in, v_in), (mu_out, v_out) = (_fitted(found.shadows, mask, own_variance) for mask in (inside, ~found.learnt))
    return _log_density(found.subject, mu_in, v_in) - _log_density(found.subject, mu_out, v_out)


def _fitted(values: Tensor, mask: Tensor, own_variance: bool) -> tuple[Tensor, Tensor]:
    """Mean of each column's masked values [M, n], and their unbiased variance: the column's own, or the mean over all
    columns, weighted by their degrees of freedom; [n] each."""
    count = mask.sum(0)
    mean = (values * mask).sum(0) / count
    squares, freedom = ((values - mean).square() * mask).sum(0), count - 1
    variance = squares / freedom if own_variance else (squares.sum() / freedom.sum()).expand_as(mean)
    return mean, variance.clamp(min=SMALLEST)


def _log_density(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((values - mean).square() / variance + torch.log(2 * math.pi * variance))
