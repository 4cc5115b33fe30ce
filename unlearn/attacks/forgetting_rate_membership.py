"""Forgetting rate as an attacker sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearn.attacks.base import Attack
from unlearn.attacks.members import forget_and_peers, loss_classifier, too_few_reason
from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import cross_entropy
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class ForgettingRateMembership(Attack):
    """(AF - BF) / BT: of the forget samples judged members before, the net share judged non-members after.

    BT and BF count forget samples judged member and non-member by the original's losses, AF those judged non-member by
    the subject's. The loss_classifier is a logistic regression on the original's losses of forget and holdout.

    Numbers: `forgetting_rate_membership`.
    Range: at most 1; 0 untouched, 1 all of them lost, negative where the net recognises more.
    Reference: the retrained model's value.
    Trap: the loss_classifier is the original's: where that cannot tell members, the rate counts noise.
    Source: Forsaken (Ma et al., TDSC 2022); the loss_classifier is ours.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT)
    references = (Role.ORIGINAL,)
    direction = "a low loss speaks for membership; the higher the rate, the fewer forget samples still count as members"
    invalid_for = ("membership_loss",)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, others = (cross_entropy(found) for found in forget_and_peers(evidence.original))
        after = cross_entropy(evidence.subject[Subset.FORGET])
        n = len(members)
        reason = too_few_reason(members, others)
        if reason:
            return {"forgetting_rate_membership": Measurement(None, n, reason=reason)}
        losses = np.concatenate([members.numpy(), others.numpy()])[:, None]
        model = loss_classifier().fit(losses, np.arange(len(losses)) < n)
        member_before = model.predict(members.numpy()[:, None])
        member_after = model.predict(after.numpy()[:, None])
        if not member_before.any():
            reason = "no forget sample was judged a member of the original's training data"
            return {"forgetting_rate_membership": Measurement(None, n, reason=reason)}
        lost = float(member_before.sum() - member_after.sum())
        return {"forgetting_rate_membership": Measurement(lost / float(member_before.sum()), n)}
