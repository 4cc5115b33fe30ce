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
    """l1-sparse fine-tuning (Jia et al. 2023): minimises CE(D_r) + gamma_t ||theta||_1 over all parameters.

    gamma_t = gamma (1 - t / T) in epoch t = 0, ..., T - 1: gamma in the first epoch, gamma / T in the last. T is the
    recipe's `epochs`, also where the budget ends training earlier.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01))
    gamma: float = at_least(0, 1e-4)  # initial weight of the penalty, nats per unit of the norm

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {Subset.RETAIN: context.data[Subset.RETAIN]}

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def gamma_in(self, epoch: int) -> float:
        """Return gamma_t, the weight of the penalty in an epoch (from 0)."""
        return self.gamma * (1 - epoch / self.recipe.epochs)

    def _loss(self, model: nn.Module, batches: Batches, epoch: int) -> Tensor:
        norm = torch.stack([p.abs().sum() for p in model.parameters()]).sum()
        return self.task_loss(model, batches, Subset.RETAIN) + self.gamma_in(epoch) * norm
