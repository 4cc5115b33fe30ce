"""Statistics of samples by shadow models, and the measurements of scores made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.members import forget_and_peers, too_few_reason
from unlearn.attacks.roc import RANKING, MembershipScores, balanced_accuracy, measure_ranking
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.core.validation import checked
from unlearn.metrics.evidence import Evidence, Shadow

NAMES = ("balanced_accuracy", *RANKING)


@dataclass(frozen=True)
class ShadowStatistics:
    """A statistic of n samples, float64, computed by the subject and by M shadow models.

    The samples are the forget set, followed by the holdout samples of its classes.
    """

    subject: Tensor  # [n]
    shadows: Tensor  # [M, n]
    learnt: Tensor  # bool [M, n]: which shadow model was trained with which sample
    forgot: Tensor  # bool [M, n]: which shadow model was then made to forget which sample
    members: Tensor  # bool [n]: whether a sample is of the forget set

    @property
    def too_few(self) -> str | None:
        """Why there are too few samples to score, or None."""
        return too_few_reason(self.members[self.members], self.members[~self.members])

    def split_scores(self, scores: Tensor) -> MembershipScores:
        """Split scores float64 [n] into those of members and of non-members."""
        return MembershipScores(scores[self.members].numpy(), scores[~self.members].numpy())


def compute_statistics(evidence: Evidence, statistic: Callable[[Predictions], Tensor]) -> ShadowStatistics:
    """Compute a statistic by all models, on the forget set and the holdout samples of its classes.

    Args:
        evidence: the subject and the shadow models.
        statistic: from predictions to a value per sample [n].
    """
    forget, peers = forget_and_peers(evidence.subject)

    def align(values: Mapping[Subset, Tensor], shadow: Shadow) -> Tensor:
        """Bring per-sample values of a shadow model into the order of the subject's samples."""
        order = {subset: predictions.index.argsort() for subset, predictions in shadow.predictions.items()}
        members, others = (values[subset][order[subset]] for subset in (Subset.FORGET, Subset.HOLDOUT))
        labels = shadow.predictions[Subset.HOLDOUT].labels[order[Subset.HOLDOUT]]
        return torch.cat([members, others[torch.isin(labels, forget.labels)]])

    def apply(shadow: Shadow) -> Tensor:
        return align({subset: statistic(predictions) for subset, predictions in shadow.predictions.items()}, shadow)

    return ShadowStatistics(
        subject=torch.cat([statistic(forget), statistic(peers)]),
        shadows=torch.stack([apply(shadow) for shadow in evidence.shadows]),
        learnt=torch.stack([align(shadow.learnt, shadow) for shadow in evidence.shadows]),
        forgot=torch.stack([align(shadow.forgot, shadow) for shadow in evidence.shadows]),
        members=torch.arange(len(forget.labels) + len(peers.labels)) < len(forget.labels),
    )


def measure_scores(
    scores: Tensor, statistics: ShadowStatistics, threshold: float, resamples: int, seed: int
) -> dict[str, Measurement]:
    """Measure the `RANKING` numbers of scores, and `balanced_accuracy`.

    Args:
        scores: float64 [n]; a high score indicates membership.
        statistics: which samples are members.
        threshold: samples with a score above it are judged members.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    members, others = statistics.split_scores(scores)
    recall, specificity = float((members > threshold).mean()), float((others <= threshold).mean())
    accuracy = balanced_accuracy(recall, len(members), specificity, len(others))
    return {"balanced_accuracy": accuracy} | measure_ranking(members, others, resamples, seed)


def undefined_measurements(statistics: ShadowStatistics, reason: str) -> dict[str, Measurement]:
    """Return all measurements as null with a reason."""
    return {name: Measurement(None, len(statistics.members), reason=reason) for name in NAMES}


def even_count(default: int) -> int:
    """A field: an even number of shadow models, so that one of each pair was trained with a sample."""
    field: int = checked(default, "an even number >= 4", lambda v: v >= 4 and v % 2 == 0)
    return field
