"""Tug-of-war (ToW): similarity to a retrained model in three accuracies at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import is_correct, standard_error
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class TugOfWar(Metric):
    """ToW = product over forget, retain and test of 1 - |A - A_r|: similarity to a retrained model in accuracy.

    Numbers: `tug_of_war`.
    Range: 0 to 1; 1 if all accuracies are equal, 0 if one differs by 1.
    Direction: high is good.
    Reference: the value of one retrained model compared with another, near 1.
    Trap: if the original has the accuracies of a retrained model, the unchanged original scores 1.
    Source: Zhao et al. 2024, "What makes unlearning hard and what to do about it". The standard error is ours: the
        delta method on paired differences, too wide if a difference is near 0.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
    references = (Role.RETRAINED,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        pairs = [(evidence.subject[subset], evidence.retrained[subset]) for subset in self.subsets]
        differences = [is_correct(subject) - is_correct(retrained) for subject, retrained in pairs]
        factors = [1 - abs(difference.mean().item()) for difference in differences]
        errors = [standard_error(difference) for difference in differences]
        partials = [math.prod(factors[:i] + factors[i + 1 :]) for i in range(len(factors))]
        parts = [error * partial for error, partial in zip(errors, partials, strict=True) if error is not None]
        error = math.hypot(*parts) if len(parts) == len(errors) else None
        return {"tug_of_war": Measurement(math.prod(factors), sum(map(len, differences)), error)}
