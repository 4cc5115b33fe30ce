"""Gradient ascent on the forget set, with bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.checks import positive
from unlearn.recipe import Recipe
from unlearn.strategies.base import Batches, Budget, Context, Loss, outputs
from unlearn.strategies.iterative import Objective
from unlearn.types import ImageSource, Subset


@dataclass(frozen=True)
class GradientAscent(Objective):
    """Minimises -CE(D_f) (Golatkar et al. 2020), which alone has neither bound nor end.

    Samples whose loss is above `loss_cap` add nothing (Unlearning with Control), and gradients are clipped. It stops
    after the first epoch that leaves forget accuracy no higher than what data it never saw would score [ours].

    Batch normalisation passes by its running statistics, which a forget set alone would drag away [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=100, lr=0.01, momentum=0, weight_decay=0, clip=1.0))
    budget: Budget = field(default_factory=lambda: Budget(like_unseen=True))
    loss_cap: float | None = positive(None)  # nats; null: ln C, the loss of a uniform guess

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {Subset.FORGET: context.data[Subset.FORGET]}

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        forget = batches[Subset.FORGET]
        logits = outputs(model, forget.images, running_statistics=True)
        losses = F.cross_entropy(logits, forget.labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        cap = math.log(logits.shape[1]) if self.loss_cap is None else self.loss_cap
        return -forget.mean(losses * (losses <= cap))
