"""Boundary shrink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.batch import Batch, sequential
from unlearn.checks import positive
from unlearn.recipe import Recipe
from unlearn.strategies.base import Batches, Context, Loss
from unlearn.strategies.iterative import Objective
from unlearn.types import ImageSource, Subset


@dataclass(frozen=True)
class BoundaryShrink(Objective):
    """Minimises CE(D_f, nearest wrong classes) and reads no retain set (Chen et al. 2023).

    The nearest wrong class of (x, y) is found once, on the original: argmax over j != y of f_j(x') with
    x' = clip(x + step sign(d CE(f(x), y) / dx), 0, 1).

    Batch normalisation passes by its running statistics: those of a forget set alone, of one class maybe, are not
    what the model meets afterwards, and would drag the running ones away [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, momentum=0, weight_decay=0))
    step: float = positive(0.1)  # in pixel units, of a range of 1

    @property
    def reads_retain(self) -> bool:
        return False

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        forget = context.data[Subset.FORGET]
        batches = sequential(forget, self.recipe.batch_size)
        return {Subset.FORGET: forget.relabelled(torch.cat([self._nearest(context.original, b) for b in batches]))}

    def _nearest(self, original: nn.Module, batch: Batch) -> Tensor:
        """The nearest wrong class of each sample, int64 [b]."""
        images = batch.images.clone().requires_grad_(True)
        loss = F.cross_entropy(original(images), batch.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
        with torch.no_grad():
            logits = original((images + self.step * gradient.sign()).clamp(0, 1))
        nearest: Tensor = logits.scatter(1, batch.labels[:, None], float("-inf")).argmax(1)
        return nearest

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return self.task(model, batches, Subset.FORGET, running_statistics=True)
