"""What attacks by shadow models have in common: what is seen of every sample, and what scores are worth."""

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
    """A statistic of n samples, float64: by the subject [n], and by M shadow models [M, n], with who of them `learnt`
    and `forgot` which, bool [M, n]. `members` bool [n]: the forget set, before its peers of the holdout set."""

    subject: Tensor
    shadows: Tensor
    learnt: Tensor
    forgot: Tensor
    members: Tensor

    @property
    def lack(self) -> str | None:
        """Why nothing can be scored, if so."""
        return too_few_reason(self.members[self.members], self.members[~self.members])

    def ranked(self, scores: Tensor) -> MembershipScores:
        """Scores float64 [n], parted."""
        return MembershipScores(scores[self.members].numpy(), scores[~self.members].numpy())


def shadow_statistics(evidence: Evidence, statistic: Callable[[Predictions], Tensor]) -> ShadowStatistics:
    """A statistic [n] of predictions, by all models, on the forget set and its peers of the holdout set."""
    forget, peers = forget_and_peers(evidence.subject)

    def flat(found: Mapping[Subset, Tensor], by: Shadow) -> Tensor:
        """By index, as the subject's are."""
        order = {subset: each.index.argsort() for subset, each in by.predictions.items()}
        members, others = (found[subset][order[subset]] for subset in (Subset.FORGET, Subset.HOLDOUT))
        labels = by.predictions[Subset.HOLDOUT].labels[order[Subset.HOLDOUT]]
        return torch.cat([members, others[torch.isin(labels, forget.labels)]])

    def stated(by: Shadow) -> Tensor:
        return flat({subset: statistic(each) for subset, each in by.predictions.items()}, by)

    return ShadowStatistics(
        subject=torch.cat([statistic(forget), statistic(peers)]),
        shadows=torch.stack([stated(each) for each in evidence.shadows]),
        learnt=torch.stack([flat(each.learnt, each) for each in evidence.shadows]),
        forgot=torch.stack([flat(each.forgot, each) for each in evidence.shadows]),
        members=torch.arange(len(forget.labels) + len(peers.labels)) < len(forget.labels),
    )


def measure_scores(
    scores: Tensor, found: ShadowStatistics, border: float, resamples: int, seed: int
) -> dict[str, Measurement]:
    """What scores float64 [n] are worth, of which a high one speaks for membership: the `RANKING`, and
    `balanced_accuracy` where those above `border` are judged members."""
    members, others = found.ranked(scores)
    shares = float((members > border).mean()), float((others <= border).mean())
    judged = balanced_accuracy(shares[0], len(members), shares[1], len(others))
    return {"balanced_accuracy": judged} | measure_ranking(members, others, resamples, seed)


def undefined(found: ShadowStatistics, reason: str) -> dict[str, Measurement]:
    """All of these, null."""
    return {name: Measurement(None, len(found.members), reason=reason) for name in NAMES}


def even_count(default: int) -> int:
    """A field: an even number of shadow models, so that of each two one has learnt a sample."""
    field: int = checked(default, "an even number >= 4", lambda v: v >= 4 and v % 2 == 0)
    return field
