"""Gradient ascent on the forget set, with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.strategies.ascent import Ascent
from unlearn.strategies.base import Batches, Budget, Context, Loss


@dataclass(frozen=True)
class GradientAscent(Ascent):
    """Minimises -CE(D_f) (Golatkar et al. 2020), which alone has neither bound nor end.

    `Ascent` bounds it, and gradients are clipped. It stops after the first epoch that leaves forget accuracy no higher
    than what data it never saw would score, or has cost more than two points of validation accuracy: without a retain
    set ascent spoils some nets before it forgets anything [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=100, lr=0.003, momentum=0, weight_decay=0, clip=1.0))
    budget: Budget = field(default_factory=lambda: Budget(like_unseen=True, validation_drop=0.02))

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {Subset.FORGET: context.data[Subset.FORGET]}

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return -self.bounded(model, batches)
