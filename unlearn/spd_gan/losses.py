"""Loss terms of SPD-GAN's generator: they move the forget set away from what a model without it recognises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.models.base import Classifier

LARGEST_SHIFT = 3.0  # in feature standard deviations; a larger shift is not rewarded
ATTACK_MARGIN = 3.0  # in logits
PIN_MARGIN = 1.0  # in logits


@dataclass(frozen=True)
class Guide:
    """A frozen classifier, with statistics of its features on D_r."""

    classifier: Classifier
    class_means: Tensor  # [C, d]
    spread: Tensor  # scalar: the standard deviation over samples and features

    @classmethod
    @torch.no_grad()
    def of(cls, classifier: Classifier, features: Tensor, labels: Tensor, classes: int) -> Guide:
        """Compute the statistics.

        Args:
            classifier: the frozen classifier.
            features: penultimate features [n, d] of clean images that cover every class in use.
            labels: int64 [n].
            classes: the number of classes C.
        """
        counts = torch.bincount(labels, minlength=classes).clamp(min=1)
        sums = torch.zeros(classes, features.shape[1], device=features.device).index_add_(0, labels, features)
        return cls(classifier, sums / counts[:, None], features.std(correction=0))


Term = Callable[[Tensor, Tensor, Guide], Tensor]  # of perturbed images [n, c, h, w] and labels [n]: a scalar


def shift(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """-E[min(3, rms((phi(x') - mu_y) / s))]: move away from the class mean in feature space [ours]."""
    features, _ = guide.classifier.features(moved)
    distance = ((features - guide.class_means[labels]) / guide.spread).square().mean(1)
    return -(distance + 1e-6).sqrt().clamp(max=LARGEST_SHIFT).mean()


def attack(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """E[max(0, z_y - max_{j != y} z_j + 3)]: be misclassified with a margin [ours]."""
    return (_margin(guide.classifier(moved), labels) + ATTACK_MARGIN).clamp(min=0).mean()


def target(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """CE(C(x'), y + 1 modulo C): be classified as the next class [ours]."""
    logits = guide.classifier(moved)
    return F.cross_entropy(logits, (labels + 1) % logits.shape[1])


def pin(moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
    """E|z_y - max_{j != y} z_j - 1|: be classified correctly, but barely [ours].

    It is the term of the probe, where the guide is the original: what a model still knows of D_f shows best on
    images of which the original is least sure.
    """
    return (_margin(guide.classifier(moved), labels) - PIN_MARGIN).abs().mean()


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logit of the true class minus that of the best other class, [n]."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return true - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


TERMS: dict[str, Term] = {"shift": shift, "attack": attack, "target": target, "pin": pin}
