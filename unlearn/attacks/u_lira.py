"""U-LiRA."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.likelihood_ratio import LikelihoodRatio
from unlearn.attacks.roc import Ranked
from unlearn.evidence import Evidence, Shadows
from unlearn.types import Measurement


@dataclass(frozen=True)
class ULira(LikelihoodRatio):
    """LiRA by shadow models that were unlearned themselves: does the strategy leave traces of what it forgot?

    Score: log N(phi; mu_in, v_in) / N(phi; mu_out, v_out), phi as in `Lira`, over shadow models that learnt the sample
    and were then made to forget it by the strategy under test (in), and over those that never learnt it, unlearned too
    (out); models that learnt and kept it count as neither (Hayes et al. 2024). A high score speaks for a sample that
    was learnt and forgotten. `mia_u_lira_auc` (0-1; 0.5: nothing is left), `mia_u_lira_balanced_accuracy` (0-1, border
    0), `mia_u_lira_tpr_at_1pct_fpr` and `mia_u_lira_tpr_at_01pct_fpr`, null with fewer than 10 / rate non-members.

    Each shadow model draws whom it forgets from D_f and the holdout samples of its classes, so that few models suffice
    [ours]. It costs `models` unlearnings with all they need, for each strategy and setting, and as many trainings,
    which are shared: it must be asked for by name. The reference is the retrained model's value.
    """

    @property
    def shadows(self) -> Shadows:
        """Trained, then unlearned."""
        return Shadows(self.models, unlearned=True)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return self.ratios(evidence, "u_lira", forgotten=True)

    def rankings(self, evidence: Evidence) -> dict[str, Ranked]:
        """By the ratio."""
        return self.ranked(evidence, "u_lira", forgotten=True)
