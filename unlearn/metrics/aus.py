"""Adaptive unlearning score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import correct, standard_error
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class Aus(Metric):
    """AUS = (1 - (A_test(theta_0) - A_test(theta))) / (1 + Delta), what was kept over what should be unknown.

    Delta = |A_test(theta) - A_forget(theta)|, so that it is best to treat the forgotten as unseen images. Where whole
    classes go, Delta is the accuracy on test images of those classes, and A_test is that on the other classes.

    Numbers: `aus`.
    Range: 0 to 2, mostly 0.5 to 1.
    Direction: high is good.
    Reference: the retrained model's value.
    Trap: it rewards a model that is right on test for whatever reason, also one that forgot nothing of a random
        request.
    Source: Cotogni et al. 2023, "DUCK"; which images count where classes go is as in the authors' code. Ours: that a
        class went as a whole is seen by its absence from the retain set, and the standard error, by the delta method.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
    references = (Role.ORIGINAL,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        forget, retain, test = (evidence.subject[subset] for subset in self.subsets)
        before, after = correct(evidence.original[Subset.TEST]), correct(test)
        if torch.isin(forget.labels, retain.labels).any():
            return {"aus": _score(before, after, correct(forget), same=True)}
        gone = torch.isin(test.labels, forget.labels)
        if gone.all() or not gone.any():
            which = "only" if gone.all() else "no"
            return {
                "aus": Measurement(None, len(test.labels), reason=f"test has {which} images of the forgotten classes")
            }
        return {"aus": _score(before[~gone], after[~gone], after[gone], same=False)}


def _score(before: Tensor, after: Tensor, forgotten: Tensor, same: bool) -> Measurement:
    """From correctness [n] on test before and after, and on the forgotten [m]; `same`: it should equal that on test."""
    wanted = after.mean() if same else torch.zeros(())
    delta = (forgotten.mean() - wanted).item()
    value = (1 - (before.mean() - after.mean()).item()) / (1 + abs(delta))
    push = value * math.copysign(1, delta) if delta else 0.0
    errors = standard_error(after - before + (push if same else 0.0) * after), standard_error(push * forgotten)
    known = [error / (1 + abs(delta)) for error in errors if error is not None]
    return Measurement(value, len(after) + len(forgotten), math.hypot(*known) if len(known) == 2 else None)
