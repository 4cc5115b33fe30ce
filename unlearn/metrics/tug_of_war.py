"""Tug-of-war."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import correct, standard_error
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class TugOfWar(Metric):
    """ToW = product over forget, retain and test of 1 - |A - A_r|, likeness to a retrained model in accuracy.

    Numbers: `tug_of_war`.
    Range: 0, where one accuracy differs by all, to 1, where none differs.
    Direction: high is good.
    Reference: retrained models among each other, the noise floor.
    Trap: where the original's accuracies are a retrained model's anyway, an untouched model scores 1.
    Source: Zhao et al. 2024, "What makes unlearning hard and what to do about it". The standard error is ours: the
        delta method on paired differences, too wide where a difference is near 0.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
    references = (Role.RETRAINED,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        pairs = [(evidence.subject[subset], evidence.retrained[subset]) for subset in self.subsets]
        differences = [correct(mine) - correct(theirs) for mine, theirs in pairs]
        kept = [1 - abs(each.mean().item()) for each in differences]
        errors = [standard_error(each) for each in differences]
        others = [math.prod(kept[:k] + kept[k + 1 :]) for k in range(len(kept))]
        known = [error * other for error, other in zip(errors, others, strict=True) if error is not None]
        spread = math.hypot(*known) if len(known) == len(errors) else None
        return {"tug_of_war": Measurement(math.prod(kept), sum(map(len, differences)), spread)}
