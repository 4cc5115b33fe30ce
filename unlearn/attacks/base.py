"""The contract of an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unlearn.attacks.roc import MembershipScores
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class Attack(Metric):
    """A metric that asks which samples were in the training data. Reports print how its numbers are to be read."""

    members: ClassVar[str] = "the forget set"  # what counts as member
    non_members: ClassVar[str] = "holdout samples of the forgotten classes"  # what counts as non-member
    direction: ClassVar[str]  # what indicates membership, and what a high value means
    invalid_for: ClassVar[tuple[str, ...]] = ()  # strategies that train on its score: it cannot grade them

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return by NAME the scores that `NAME_auc` ranks by; called only if that AUC is defined."""
        return {}
