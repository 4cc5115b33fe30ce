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
    """Can an attacker distinguish the forget set from the holdout set by the loss?

    Samples are ranked by the loss; a low loss indicates membership for every model. The balanced accuracy is that of a
    logistic regression that is fitted to one part of the losses and scored on the rest: the mean over `splits`
    stratified splits, not the best of them. Under class-wise forgetting non-members are the holdout samples of the
    forgotten class.

    Numbers: `mia_logistic_auc`, with a percentile bootstrap interval over samples; `mia_logistic_balanced_accuracy`;
        `mia_logistic_tpr_at_1pct_fpr`, `mia_logistic_tpr_at_01pct_fpr`.
    Range: 0 to 1; the true-positive rates are null with fewer than 10 / (false-positive rate) non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: under SPD-GAN the same generator perturbs the non-members; it was fitted to the forget set, which it moves
        further.
    Source: standard in the field; the protocol is ours.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    direction = "a low loss indicates membership; the higher the AUC, the better the attack identifies members"
    invalid_for = ("membership_loss",)

    splits: int = at_least(1, 10)  # random splits into fitted and scored samples
    test_share: float = fraction(0.5, zero=False)  # fraction of the samples that each split scores
    bootstrap: int = at_least(100, 1000)  # resamples for intervals

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, others = forget_and_peers(evidence.subject)
        seed = stream_seed(evidence.seed, "logistic") % 2**32
        measured = measure_by_loss(members, others, self.splits, self.test_share, self.bootstrap, seed)
        return {f"mia_logistic_{name}": value for name, value in measured.items()}

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the negative losses as scores."""
        return {"mia_logistic": score_by_loss(*forget_and_peers(evidence.subject))}


def score_by_loss(members: Predictions, others: Predictions) -> MembershipScores:
    """Return the negative losses of members and non-members as scores."""
    return MembershipScores(*(-cross_entropy(predictions).numpy() for predictions in (members, others)))


def measure_by_loss(
    members: Predictions, others: Predictions, splits: int, test_share: float, bootstrap: int, seed: int
) -> dict[str, Measurement]:
    """Measure the `RANKING` numbers and `balanced_accuracy`, as `Logistic` describes them.

    Args:
        members: predictions on members.
        others: predictions on non-members.
        splits: random splits into fitted and scored samples.
        test_share: the fraction of the samples that each split scores, in (0, 1).
        bootstrap: resamples for intervals.
        seed: of splits and resamples.

    Returns:
        Measurements by name; null with a reason if there are too few samples.
    """
    losses_in, losses_out = cross_entropy(members), cross_entropy(others)
    reason = too_few_reason(losses_in, losses_out, min(test_share, 1 - test_share))
    n = len(losses_in) + len(losses_out)
    if reason:
        return {name: Measurement(None, n, reason=reason) for name in ("balanced_accuracy", *RANKING)}
    losses = np.concatenate([losses_in.numpy(), losses_out.numpy()])
    truth = np.arange(n) < len(losses_in)
    recall, specificity = judge_members(losses, truth, splits, test_share, seed)
    judged = balanced_accuracy(recall, len(losses_in), specificity, len(losses_out))
    return measure_ranking(-losses[truth], -losses[~truth], bootstrap, seed) | {"balanced_accuracy": judged}


def judge_members(
    losses: Floats, truth: npt.NDArray[np.bool_], splits: int, test_share: float, seed: int
) -> tuple[float, float]:
    """Return the fractions of members and of non-members judged correctly, means over splits."""
    from sklearn.model_selection import StratifiedShuffleSplit

    parts = StratifiedShuffleSplit(splits, test_size=test_share, random_state=seed).split(losses, truth)
    rates = []
    for fitted, scored in parts:
        is_right = (
            loss_classifier().fit(losses[fitted, None], truth[fitted]).predict(losses[scored, None]) == truth[scored]
        )
        rates.append((is_right[truth[scored]].mean(), is_right[~truth[scored]].mean()))
    recall, specificity = np.mean(rates, axis=0)
    return float(recall), float(specificity)
