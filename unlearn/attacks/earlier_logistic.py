"""Membership inference on the records of earlier requests."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.base import Attack
from unlearn.attacks.logistic import Logistic, measure_by_loss, score_by_loss
from unlearn.attacks.members import forget_and_peers
from unlearn.attacks.roc import MembershipScores
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least, fraction
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class EarlierLogistic(Attack):
    """Can an attacker distinguish the records of earlier requests from the holdout set by the loss?

    It is the attack `Logistic` with the records of earlier requests in place of the forget set. Every run with
    `forget.earlier` measures it.

    Numbers: `mia_earlier_auc`, with a percentile bootstrap interval over samples; `mia_earlier_balanced_accuracy`;
        `mia_earlier_tpr_at_1pct_fpr`, `mia_earlier_tpr_at_01pct_fpr`.
    Range: 0 to 1; the true-positive rates are null with fewer than 10 / (false-positive rate) non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: the original of a later request has forgotten these records already, so its value is that of the earlier
        request's unlearned model.
    Source: as `Logistic`; measured on earlier requests: ours.
    """

    subsets = (Subset.EARLIER_FORGET, Subset.HOLDOUT)
    needs_earlier = True
    members = "the records of earlier requests"
    non_members = "holdout samples of their classes"
    direction = Logistic.direction
    invalid_for = Logistic.invalid_for

    splits: int = at_least(1, 10)  # random splits into fitted and scored samples
    test_share: float = fraction(0.5, zero=False)  # fraction of the samples that each split scores
    bootstrap: int = at_least(100, 1000)  # resamples for intervals

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, others = forget_and_peers(evidence.subject, members=Subset.EARLIER_FORGET)
        seed = stream_seed(evidence.seed, "earlier_logistic") % 2**32
        measured = measure_by_loss(members, others, self.splits, self.test_share, self.bootstrap, seed)
        return {f"mia_earlier_{name}": value for name, value in measured.items()}

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the negative losses as scores."""
        pair = forget_and_peers(evidence.subject, members=Subset.EARLIER_FORGET)
        return {"mia_earlier": score_by_loss(*pair)}
