"""Membership inference by logistic regression on the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unlearn.attacks.base import Attack
from unlearn.attacks.members import forget_and_peers, loss_classifier, too_few_reason
from unlearn.attacks.roc import RANKING, Floats, MembershipScores, balanced_accuracy, measure_ranking
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.core.validation import at_least, fraction
from unlearn.functional.estimates import cross_entropy
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class Logistic(Attack):
    """Can an attacker tell the forget set from the holdout set by the loss?

    A threshold on the loss ranks, a low one speaking for membership, whatever the model. The balanced accuracy is that
    of a logistic regression fitted on one part of the losses and scored on the rest, the mean over `splits` stratified
    splits, not the best of them. Under class-wise forgetting non-members are the holdout samples of the forgotten
    class.

    Numbers: `mia_logistic_auc`, its interval a percentile bootstrap over samples; `mia_logistic_balanced_accuracy`;
        `mia_logistic_tpr_at_1pct_fpr`, `mia_logistic_tpr_at_01pct_fpr`.
    Range: 0 to 1; the rates are null with fewer than 10 / rate non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: under SPD-GAN non-members are moved by the same generator, which was fitted to the forget set and moves it
        further.
    Source: the field's; the protocol is our choice.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    direction = "a low loss speaks for membership; the higher the AUC, the better members are told"
    invalid_for = ("membership_loss",)

    splits: int = at_least(1, 10)
    test_share: float = fraction(0.5, zero=False)  # of the samples, scored in each split
    bootstrap: int = at_least(100, 1000)  # resamples for intervals

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, others = forget_and_peers(evidence.subject)
        seed = stream_seed(evidence.seed, "logistic") % 2**32
        measured = by_loss(members, others, self.splits, self.test_share, self.bootstrap, seed)
        return {f"mia_logistic_{name}": value for name, value in measured.items()}

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """By the loss."""
        return {"mia_logistic": ranked_by_loss(*forget_and_peers(evidence.subject))}


def ranked_by_loss(members: Predictions, others: Predictions) -> MembershipScores:
    """A low loss speaks for membership."""
    return MembershipScores(*(-cross_entropy(each).numpy() for each in (members, others)))


def by_loss(
    members: Predictions, others: Predictions, splits: int, test_share: float, bootstrap: int, seed: int
) -> dict[str, Measurement]:
    """`balanced_accuracy` and the `RANKING`, as `Logistic` describes them; null with a reason if too few."""
    inside, outside = cross_entropy(members), cross_entropy(others)
    reason = too_few_reason(inside, outside, min(test_share, 1 - test_share))
    n = len(inside) + len(outside)
    if reason:
        return {name: Measurement(None, n, reason=reason) for name in ("balanced_accuracy", *RANKING)}
    losses = np.concatenate([inside.numpy(), outside.numpy()])
    truth = np.arange(n) < len(inside)
    recall, specificity = _judged(losses, truth, splits, test_share, seed)
    judged = balanced_accuracy(recall, len(inside), specificity, len(outside))
    return measure_ranking(-losses[truth], -losses[~truth], bootstrap, seed) | {"balanced_accuracy": judged}


def _judged(
    losses: Floats, truth: npt.NDArray[np.bool_], splits: int, test_share: float, seed: int
) -> tuple[float, float]:
    """Shares of members and of non-members judged right, the means over splits."""
    from sklearn.model_selection import StratifiedShuffleSplit

    parts = StratifiedShuffleSplit(splits, test_size=test_share, random_state=seed).split(losses, truth)
    found = []
    for fitted, scored in parts:
        right = (
            loss_classifier().fit(losses[fitted, None], truth[fitted]).predict(losses[scored, None]) == truth[scored]
        )
        found.append((right[truth[scored]].mean(), right[~truth[scored]].mean()))
    recall, specificity = np.mean(found, axis=0)
    return float(recall), float(specificity)
