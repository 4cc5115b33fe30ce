"""LiRA, the likelihood-ratio attack."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.likelihood_ratio import LikelihoodRatio
from unlearn.attacks.roc import MembershipScores
from unlearn.core.types import Measurement
from unlearn.metrics.evidence import Evidence, ShadowRequest


@dataclass(frozen=True)
class Lira(LikelihoodRatio):
    """LiRA, online: does the model treat the forget set as training data, unlike the holdout set?

    Score: log N(phi; mu_in, v_in) / N(phi; mu_out, v_out), where phi = z_y - logsumexp over j != y of z_j. Means and
    variances are those of phi for this sample, over the shadow models trained with it (in) and without it (out); with
    few models the variances are pooled over samples. Shadow models are trained by the original's recipe on halves of D
    and holdout together, so on somewhat less data than the original. All attacks and cells share them.

    Numbers: `mia_lira_auc`, `mia_lira_balanced_accuracy` (threshold 0), `mia_lira_tpr_at_1pct_fpr`,
        `mia_lira_tpr_at_01pct_fpr`.
    Range: 0 to 1; the true-positive rates are null with fewer than 10 / (false-positive rate) non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: phi from probabilities saturates; here it is computed from logits, in float64.
    Source: Carlini et al. 2022; that pooled variances are around the mean of each sample is ours.
    """

    invalid_for = ("membership_loss",)

    @property
    def shadows(self) -> ShadowRequest:
        """Shadow models as they were trained."""
        return ShadowRequest(self.models)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return self.ratios(evidence, "lira", forgotten=False)

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the likelihood ratios as scores."""
        return self.ranked(evidence, "lira", forgotten=False)
