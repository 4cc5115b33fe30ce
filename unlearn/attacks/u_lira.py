"""U-LiRA, LiRA with unlearned shadow models."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.likelihood_ratio import LikelihoodRatio
from unlearn.attacks.roc import MembershipScores
from unlearn.core.types import Measurement
from unlearn.metrics.evidence import Evidence, ShadowRequest


@dataclass(frozen=True)
class ULira(LikelihoodRatio):
    """LiRA with shadow models that were unlearned too: does the strategy leave traces of what it forgot?

    Score: log N(phi; mu_in, v_in) / N(phi; mu_out, v_out), phi as in `Lira`, over shadow models that were trained with
    the sample and then made to forget it by the strategy under test (in), and over those that were trained without it
    and unlearned too (out); models that learnt and kept it count as neither. Each shadow model draws its forget set
    from D_f and the holdout samples of its classes, so that few models suffice. It costs `models` unlearning runs for
    each strategy and setting, and as many trainings, which are shared, so it runs only if it is requested by name.

    Numbers: `mia_u_lira_auc` (0.5: no trace), `mia_u_lira_balanced_accuracy` (threshold 0),
        `mia_u_lira_tpr_at_1pct_fpr`, `mia_u_lira_tpr_at_01pct_fpr`.
    Range: 0 to 1; the true-positive rates are null with fewer than 10 / (false-positive rate) non-members.
    Reference: the retrained model's value.
    Trap: a population attack such as `Logistic` asks whether forgotten samples differ on average, and misses traces of
        single samples.
    Source: Hayes et al. 2024; which samples a shadow model forgets is ours.
    """

    @property
    def shadows(self) -> ShadowRequest:
        """Shadow models that were trained and then unlearned."""
        return ShadowRequest(self.models, unlearned=True)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return self.ratios(evidence, "u_lira", forgotten=True)

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the likelihood ratios as scores."""
        return self.ranked(evidence, "u_lira", forgotten=True)
