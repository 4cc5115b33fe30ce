"""U-LiRA."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.likelihood_ratio import LikelihoodRatio
from unlearn.attacks.roc import MembershipScores
from unlearn.core.types import Measurement
from unlearn.metrics.evidence import Evidence, ShadowRequest


@dataclass(frozen=True)
class ULira(LikelihoodRatio):
    """LiRA by shadow models that were unlearned themselves: does the strategy leave traces of what it forgot?

    Score: log N(phi; mu_in, v_in) / N(phi; mu_out, v_out), phi as in `Lira`, over shadow models that learnt the sample
    and were then made to forget it by the strategy under test (in), and over those that never learnt it, unlearned too
    (out); models that learnt and kept it count as neither. Each shadow model draws whom it forgets from D_f and the
    holdout samples of its classes, so that few models suffice. It costs `models` unlearnings with all they need, for
    each strategy and setting, and as many trainings, which are shared: it must be asked for by name.

    Numbers: `mia_u_lira_auc` (0.5: nothing is left), `mia_u_lira_balanced_accuracy` (border 0),
        `mia_u_lira_tpr_at_1pct_fpr`, `mia_u_lira_tpr_at_01pct_fpr`.
    Range: 0 to 1; the rates are null with fewer than 10 / rate non-members.
    Reference: the retrained model's value.
    Trap: a population attack, as `Logistic`, asks whether forgotten samples differ on average and misses traces in
        single ones.
    Source: Hayes et al. 2024; who forgets what is ours.
    """

    @property
    def shadows(self) -> ShadowRequest:
        """Trained, then unlearned."""
        return ShadowRequest(self.models, unlearned=True)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return self.ratios(evidence, "u_lira", forgotten=True)

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """By the ratio."""
        return self.ranked(evidence, "u_lira", forgotten=True)
