"""What an attack says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unlearn.attacks.roc import MembershipScores
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class Attack(Metric):
    """A metric that asks who was in the training data. Every report repeats how it says this is to be read."""

    members: ClassVar[str] = "the forget set"
    non_members: ClassVar[str] = "holdout samples of the forgotten classes"
    direction: ClassVar[str]  # what speaks for membership, and what a high value means
    invalid_for: ClassVar[tuple[str, ...]] = ()  # strategies that train on what it ranks by: it cannot grade those

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """The scores that each `NAME_auc` ranks by, by NAME; asked for only where that AUC is defined."""
        return {}
