"""The numbers by which hyper-parameters may be selected: on validation instead of test and holdout."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.base import Attack
from unlearn.attacks.logistic import Logistic, measure_by_loss, score_by_loss
from unlearn.attacks.members import forget_and_peers, too_few_reason
from unlearn.attacks.roc import MembershipScores, measure_ranking
from unlearn.attacks.threshold import entropy
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least
from unlearn.functional.estimates import is_correct, keep_retained_classes, mean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class SelectionAttack(Attack):
    """What a search may select by: validation accuracy, and `Logistic` with validation samples as non-members.

    The regression is fitted on one half of forget and validation and scored on the other half, the mean over `splits`.
    Together with forget and retain accuracy these numbers make `selection/average_gap`, which a search minimises.

    If a request removes a class altogether, the average uses `retained_validation_accuracy`, without the samples of
    that class, in place of validation accuracy, as with test accuracy.

    Numbers: `validation_accuracy`, and if classes are removed `retained_validation_accuracy`; `selection_auc`, by the
        loss; `selection_entropy_auc`, by the entropy of the prediction, for strategies that train on losses;
        `selection_balanced_accuracy`.
    Range: 0 to 1.
    Reference: the retrained model's value.
    Trap: under SPD-GAN's marker the forget set is marked and validation is not, so the attack sees the mark too: only
        the gap to retrained counts.
    Source: ours; test and holdout stay unseen.
    """

    subsets = (Subset.FORGET, Subset.VALIDATION, Subset.RETAIN)
    non_members = "validation samples of the forgotten classes"
    direction = Logistic.direction
    invalid_for = Logistic.invalid_for

    splits: int = at_least(1, 10)  # random splits into fitted and scored samples
    bootstrap: int = at_least(100, 1000)  # resamples for intervals

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, others = forget_and_peers(evidence.subject, Subset.VALIDATION)
        seed = stream_seed(evidence.seed, "selection") % 2**32
        attack = measure_by_loss(members, others, self.splits, 0.5, self.bootstrap, seed)
        accuracies = {"validation_accuracy": mean(is_correct(evidence.subject[Subset.VALIDATION]))}
        retained = keep_retained_classes(evidence.subject, Subset.VALIDATION)
        if retained is not None:
            accuracies["retained_validation_accuracy"] = mean(is_correct(retained))
        return {
            **accuracies,
            "selection_auc": attack["auc"],
            "selection_entropy_auc": self._by_entropy(evidence),
            "selection_balanced_accuracy": attack["balanced_accuracy"],
        }

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the negative losses and negative entropies as scores."""
        members, others = forget_and_peers(evidence.subject, Subset.VALIDATION)
        by_entropy = MembershipScores(*(-entropy(predictions).numpy() for predictions in (members, others)))
        return {"selection": score_by_loss(members, others), "selection_entropy": by_entropy}

    def _by_entropy(self, evidence: Evidence) -> Measurement:
        scores = self.rankings(evidence)["selection_entropy"]
        reason = too_few_reason(*scores)
        if reason:
            return Measurement(None, sum(map(len, scores)), reason=reason)
        return measure_ranking(*scores, self.bootstrap, stream_seed(evidence.seed, "selection_entropy") % 2**32)["auc"]
