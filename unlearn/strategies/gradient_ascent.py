"""Gradient ascent on the forget set, with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import positive
from unlearn.strategies.ascent import bounded_loss
from unlearn.strategies.base import Batches, Budget, Context, Loss
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True)
class GradientAscent(Objective):
    """Gradient ascent (Golatkar et al. 2020): minimises -CE(D_f), and reads no retain set in training.

    The plain objective has neither bound nor end. So samples whose loss exceeds `loss_cap` add nothing, gradients are
    clipped, and training stops after the first epoch that leaves forget accuracy no higher than unseen data would
    score, or that has cost more than two points of validation accuracy. Trap: without a retain set ascent spoils some
    nets before it forgets anything [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=100, lr=0.003, momentum=0, weight_decay=0, clip=1.0))
    budget: Budget = field(default_factory=lambda: Budget(like_unseen=True, validation_drop=0.02))
    loss_cap: float | None = positive(None)  # nats; null: ln C, the loss of a uniform guess among C classes

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {Subset.FORGET: context.data[Subset.FORGET]}

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return -bounded_loss(model, batches, self.loss_cap, self.recipe.label_smoothing)
