"""Label inference: which class was forgotten?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.members import by_index
from unlearn.core.types import Measurement, Role, Subset
from unlearn.core.validation import at_least, fraction, positive
from unlearn.functional.estimates import confidence, mean
from unlearn.functional.gradient_inversion import Probing
from unlearn.metrics.evidence import Evidence

NAMES = ("success", "rank", "drop", "margin")


@dataclass(frozen=True)
class LabelInference(Attack):
    """Do the original and this model together tell which class was forgotten?

    The attacker makes images of whose class the original is sure, and infers the class whose mean probability on its
    own images falls most from the original to this model.

    Numbers: `label_inference_success`, 1 if samples of that class were forgotten, else 0; `label_inference_rank`, the
        best place of such a class in the order of falls, ties against the attacker; `label_inference_drop`, how far its
        probability fell; `label_inference_margin`, by how much more than that of any other class, with the standard
        error over its images.
    Range: 0 or 1 (a blind guess reaches the share of such classes); from 1, the first; -1 to 1; -2 to 2. Null where
        samples of all classes are forgotten, and where no class's probability falls.
    Reference: the retrained model's value.
    Trap: a model that never saw a class gives it away, too.
    Source: Hu et al. 2024, "Learn what you want to unlearn"; how the images are made, and that of several forgotten
        classes one is enough, are ours.
    """

    subsets = (Subset.FORGET, Subset.PROBES)
    references = (Role.ORIGINAL,)
    members = "the classes that the forget set is of"
    non_members = "all other classes"
    direction = "the class that falls most is inferred; the higher success and margin, the more both models tell of it"

    per_class: int = at_least(1, 16)  # probing images
    steps: int = at_least(1, 100)  # of their optimisation
    lr: float = positive(0.02)  # in pixels of 0-1
    sure: float = fraction(0.95, zero=False)  # the original's probability at which an image is left as it is

    @property
    def probing(self) -> Probing:
        """Of all classes."""
        return Probing(self.per_class, self.steps, self.lr, self.sure)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before, after = (seen[Subset.PROBES] for seen in (evidence.original, evidence.subject))
        forgotten = torch.isin(torch.arange(before.logits.shape[1]), evidence.subject[Subset.FORGET].labels)
        measured = inferred(
            confidence(by_index(before)) - confidence(by_index(after)), by_index(after).labels, forgotten
        )
        return {f"label_inference_{name}": value for name, value in measured.items()}


def inferred(falls: Tensor, labels: Tensor, forgotten: Tensor) -> dict[str, Measurement]:
    """`NAMES`, from how far confidence fell on each probing image, float64 [n], its class [n], and which classes were
    forgotten, bool [C]."""
    classes = len(forgotten)
    if bool(forgotten.all()):
        return _undefined(classes, f"samples of all {classes} classes are forgotten: there is none to tell")
    by_class = torch.stack([falls[labels == label].mean() for label in range(classes)])
    if not bool((by_class > 0).any()):
        return _undefined(classes, "no class's probing images lost confidence from the original to this model")
    best, other = (int(by_class.masked_fill(~mask, -torch.inf).argmax()) for mask in (forgotten, ~forgotten))
    rank = 1 + int((by_class[~forgotten] >= by_class[best]).sum())
    ours, theirs = mean(falls[labels == best]), mean(falls[labels == other])
    error = math.hypot(ours.standard_error or 0, theirs.standard_error or 0)
    margin = (ours.value or 0) - (theirs.value or 0)
    return {
        "success": Measurement(float(rank == 1), classes),
        "rank": Measurement(float(rank), classes),
        "drop": ours,
        "margin": Measurement(margin, ours.n + theirs.n, error if ours.n > 1 else None),
    }


def _undefined(classes: int, reason: str) -> dict[str, Measurement]:
    return {name: Measurement(None, classes, reason=reason) for name in NAMES}
