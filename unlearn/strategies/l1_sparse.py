"""Fine-tuning towards sparse weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least
from unlearn.strategies.base import Batches, Context, Loss
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True)
class L1Sparse(Objective):
    """Minimises CE(D_r) + gamma_t ||theta||_1 over all parameters (Jia et al. 2023).

    gamma_t = gamma (1 - t / T) in epoch t = 0, ..., T - 1 of T: all of gamma in the first, gamma / T in the last,
    and 0 would be next. T is the recipe's `epochs`, also where the budget ends it sooner.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01))
    gamma: float = at_least(0, 1e-4)  # nats per unit of the norm

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {Subset.RETAIN: context.data[Subset.RETAIN]}

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def gamma_in(self, epoch: int) -> float:
        """The penalty's weight in `epoch`, counted from 0."""
        return self.gamma * (1 - epoch / self.recipe.epochs)

    def _loss(self, model: nn.Module, batches: Batches, epoch: int) -> Tensor:
        norm = torch.stack([p.abs().sum() for p in model.parameters()]).sum()
        return self.task(model, batches, Subset.RETAIN) + self.gamma_in(epoch) * norm
