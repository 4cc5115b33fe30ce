"""Adaptive unlearning score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import is_correct, standard_error
from unlearn.metrics.evidence import Evidence, Metric


@dataclass(frozen=True)
class Aus(Metric):
    """AUS = (1 - (A_test(theta_0) - A_test(theta))) / (1 + Delta): retained accuracy, penalised by what is still known.

    Delta = |A_test(theta) - A_forget(theta)|, so the best model treats forget samples like unseen images. If whole
    classes are removed, Delta is the accuracy on test images of those classes, and A_test that on the other classes.

    Numbers: `aus`.
    Range: 0 to 2, mostly 0.5 to 1.
    Direction: high is good.
    Reference: the retrained model's value.
    Trap: for a random request it is high for any model with a high test accuracy, even one that forgot nothing.
    Source: Cotogni et al. 2023, "DUCK"; which images count if classes are removed is as in the authors' code. Ours: a
        class counts as removed if the retain set lacks it; the standard error, by the delta method.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
    references = (Role.ORIGINAL,)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        forget, retain, test = (evidence.subject[subset] for subset in self.subsets)
        before, after = is_correct(evidence.original[Subset.TEST]), is_correct(test)
        if torch.isin(forget.labels, retain.labels).any():
            return {"aus": _score(before, after, is_correct(forget), same=True)}
        removed = torch.isin(test.labels, forget.labels)
        if removed.all() or not removed.any():
            reason = f"test has {'only' if removed.all() else 'no'} images of the forgotten classes"
            return {"aus": Measurement(None, len(test.labels), reason=reason)}
        return {"aus": _score(before[~removed], after[~removed], after[removed], same=False)}


def _score(before: Tensor, after: Tensor, forgotten: Tensor, same: bool) -> Measurement:
    """Return the score with its standard error.

    Args:
        before: correctness (0 or 1) of the original on test, float64 [n].
        after: correctness of the subject on test, float64 [n].
        forgotten: correctness of the subject on what it should not know, float64 [m].
        same: whether accuracy on `forgotten` should equal that on test; else it should be 0.
    """
    target = after.mean() if same else torch.zeros(())
    delta = (forgotten.mean() - target).item()
    value = (1 - (before.mean() - after.mean()).item()) / (1 + abs(delta))
    slope = value * math.copysign(1, delta) if delta else 0.0
    errors = standard_error(after - before + (slope if same else 0.0) * after), standard_error(slope * forgotten)
    known = [error / (1 + abs(delta)) for error in errors if error is not None]
    return Measurement(value, len(after) + len(forgotten), math.hypot(*known) if len(known) == 2 else None)
