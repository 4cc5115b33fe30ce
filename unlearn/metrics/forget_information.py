"""Information about the forget set in a model's gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.core.validation import at_least
from unlearn.functional.parameter_scores import GradientStatistic, Need
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence


@dataclass(frozen=True)
class ForgetInformation(Metric):
    """i(theta; D_f) = mean over samples of ||grad log p(y|x)||^2, the trace of the empirical Fisher information.

    Numbers: `forget_information_log` = ln i; `forget_information_ratio` = i / i_r, i_r that of a retrained model;
        `efficacy` = 1 / i. Only the mean is stored, so there is no standard error.
    Range: any number; 0 to infinity; 0 to infinity. Null if no sample has a gradient.
    Direction: none, and nothing is ranked by it; the ratio is 1 for a model like a retrained one.
    Reference: the retrained model.
    Trap: a memorised sample has hardly any gradient, so the original may have the highest efficacy of all models.
    Source: Becker and Liebig 2022, "Evaluating machine unlearning via epistemic uncertainty", who define i and call a
        high efficacy good; logarithm and ratio are ours.
    """

    subsets = (Subset.FORGET,)  # to count samples
    references = (Role.RETRAINED,)

    samples: int | None = at_least(1, None)  # samples of D_f to use, evenly spaced, one backward pass each; null: all

    def needs(self) -> tuple[Need, ...]:
        return (Need(GradientStatistic("mean_square"), Subset.FORGET, self.samples),)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        size = len(evidence.subject[Subset.FORGET].labels)
        n = size if self.samples is None else min(self.samples, size)
        subject, retrained = self._information(evidence.subject), self._information(evidence.retrained)
        reason = "{} has no gradient on any sample of the forget set"
        undefined = Measurement(None, n, reason=reason.format("the model"))
        no_reference = Measurement(None, n, reason=reason.format("the retrained model"))
        return {
            "forget_information_log": Measurement(math.log(subject), n) if subject else undefined,
            "forget_information_ratio": Measurement(subject / retrained, n) if retrained else no_reference,
            "efficacy": Measurement(1 / subject, n) if subject else undefined,
        }

    def _information(self, model: ModelEvidence) -> float:
        (need,) = self.needs()
        return sum(square.double().sum().item() for square in model.scores[need].values())
