"""Where SPD-GAN moves the forget set to: away from what a model without it would recognise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.models.base import Classifier

LARGEST_SHIFT = 3.0  # in feature standard deviations; further away earns nothing
MARGIN = 3.0  # in logits
BARELY = 1.0  # in logits


@dataclass(frozen=True)
class Guide:
    """A frozen classifier, with its class means on D_r [C, d] and the scalar spread of its features there."""

    classifier: Classifier
    class_means: Tensor
    spread: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, classifier: Classifier, features: Tensor, labels: Tensor, classes: int) -> Guide:
        """From penultimate features [n, d] and labels [n] of clean images that cover every class in use."""
        counts = torch.bincount(labels, minlength=classes).clamp(min=1)
        sums = torch.zeros(classes, features.shape[1], device=features.device).index_add_(0, labels, features)
        return cls(classifier, sums / counts[:, None], features.std(correction=0))


Term = Callable[[Tensor, Tensor, Guide], Tensor]


def shift(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """-E[min(3, rms((phi(x') - mu_y) / s))]: leave the class's place in feature space [ours]."""
    features, _ = guide.classifier.features(moved)
    distance = ((features - guide.class_means[labels]) / guide.spread).square().mean(1)
    return -(distance + 1e-6).sqrt().clamp(max=LARGEST_SHIFT).mean()


def attack(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """E[max(0, z_y - max_{j != y} z_j + 3)]: be mistaken, with a margin [ours]."""
    return (_lead(guide.classifier(moved), labels) + MARGIN).clamp(min=0).mean()


def target(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """CE(C(x'), y + 1 modulo C): be mistaken for the next class [ours]."""
    logits = guide.classifier(moved)
    return F.cross_entropy(logits, (labels + 1) % logits.shape[1])


def pin(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """E|z_y - max_{j != y} z_j - 1|: be recognised, but barely [ours].

    For the probe, whose guide is the original: what it still knows of D_f shows where it is least sure.
    """
    return (_lead(guide.classifier(moved), labels) - BARELY).abs().mean()


def _lead(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the true class is ahead of the best other one, in logits [n]."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return true - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


TERMS: dict[str, Term] = {"shift": shift, "attack": attack, "target": target, "pin": pin}
