"""Label inference: find the forgotten class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.members import sort_by_index
from unlearn.core.types import Measurement, Role, Subset
from unlearn.core.validation import at_least, fraction, positive
from unlearn.functional.estimates import confidence, mean
from unlearn.functional.gradient_inversion import Probing
from unlearn.metrics.evidence import Evidence

NAMES = ("success", "rank", "drop", "margin")


@dataclass(frozen=True)
class LabelInference(Attack):
    """Do the original and this model together reveal which class was forgotten?

    The attacker makes probing images for every class, of which the original is sure, and infers the class whose mean
    probability on its own images falls most from the original to this model.

    Numbers: `label_inference_success`, 1 if samples of the inferred class were forgotten, else 0;
        `label_inference_rank`, the best rank of a forgotten class in the order of falls, ties against the attacker;
        `label_inference_drop`, how far its probability fell; `label_inference_margin`, by how much more it fell than
        that of any other class, with the standard error over its images.
    Range: 0 or 1 (a blind guess reaches the fraction of forgotten classes); from 1, the best; -1 to 1; -2 to 2. Null if
        samples of all classes are forgotten, or if no class's probability falls.
    Reference: the retrained model's value.
    Trap: a model that was never trained on a class reveals it too.
    Source: Hu et al. 2024, "Learn what you want to unlearn"; how the images are made, and that one of several forgotten
        classes suffices, are ours.
    """

    subsets = (Subset.FORGET, Subset.PROBES)
    references = (Role.ORIGINAL,)
    members = "the classes of the forget set"
    non_members = "all other classes"
    direction = "the class that falls most is inferred; the higher success and margin, the more both models reveal"

    per_class: int = at_least(1, 16)  # probing images of each class
    steps: int = at_least(1, 100)  # optimisation steps for each image
    lr: float = positive(0.02)  # step size; pixels are in [0, 1]
    sure: float = fraction(0.95, zero=False)  # the original's probability of the class at which an image is finished

    @property
    def probing(self) -> Probing:
        """How the probing images are made."""
        return Probing(self.per_class, self.steps, self.lr, self.sure)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before, after = (sort_by_index(model[Subset.PROBES]) for model in (evidence.original, evidence.subject))
        forgotten = torch.isin(torch.arange(before.logits.shape[1]), evidence.subject[Subset.FORGET].labels)
        measured = infer_class(confidence(before) - confidence(after), after.labels, forgotten)
        return {f"label_inference_{name}": value for name, value in measured.items()}


def infer_class(falls: Tensor, labels: Tensor, forgotten: Tensor) -> dict[str, Measurement]:
    """Infer the forgotten class and return the measurements of `NAMES`.

    Args:
        falls: by how much confidence fell on each probing image, float64 [n].
        labels: the class of each probing image, int64 [n].
        forgotten: which classes were forgotten, bool [C].
    """
    classes = len(forgotten)
    if bool(forgotten.all()):
        return _undefined(classes, f"samples of all {classes} classes are forgotten: there is none to infer")
    by_class = torch.stack([falls[labels == label].mean() for label in range(classes)])
    if not bool((by_class > 0).any()):
        return _undefined(classes, "no class's probing images lost confidence from the original to this model")
    best, other = (int(by_class.masked_fill(~mask, -torch.inf).argmax()) for mask in (forgotten, ~forgotten))
    rank = 1 + int((by_class[~forgotten] >= by_class[best]).sum())
    drop, other_drop = mean(falls[labels == best]), mean(falls[labels == other])
    error = math.hypot(drop.standard_error or 0, other_drop.standard_error or 0)
    margin = (drop.value or 0) - (other_drop.value or 0)
    return {
        "success": Measurement(float(rank == 1), classes),
        "rank": Measurement(float(rank), classes),
        "drop": drop,
        "margin": Measurement(margin, drop.n + other_drop.n, error if drop.n > 1 else None),
    }


def _undefined(classes: int, reason: str) -> dict[str, Measurement]:
    return {name: Measurement(None, classes, reason=reason) for name in NAMES}
