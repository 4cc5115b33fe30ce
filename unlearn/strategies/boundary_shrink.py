"""Boundary shrink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import Batch, iter_batches
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import one_of, positive
from unlearn.strategies.base import Batches, Budget, Context, Loss
from unlearn.strategies.iterative import Objective

UNCHANGED = "{:,} of {:,} forget samples keep their label: strategy.step does not move them across the nearest border."


@dataclass(frozen=True)
class BoundaryShrink(Objective):
    """Boundary shrink (Chen et al. 2023): train D_f on the labels of the nearest decision border.

    Minimises CE(D_f, neighbour label) and reads no retain set. The neighbour label of (x, y) is computed once, on the
    original, from the adversarial image x' = clip(x + step sign(d CE(f(x), y) / dx), 0, 1):

    - `neighbour=any_class` (default): argmax of f(x') over all classes. A sample that x' does not move across the
      border keeps its label y and so holds the model where it is. The code behind the SalUn tables does this [C]. The
      report notes how many forget samples keep their label.
    - `neighbour=wrong_class`: argmax of f(x') over j != y, so that every sample is relabelled. Trap: this destroys
      random requests. A random tenth left a retain accuracy of 0.72 on digits and of 0.48 on MNIST
      (docs/strategies-measured.md), with `any_class` 0.99 on digits (seed 10).

    Without a retain set relabelling spoils some nets, so training ends after the first epoch that has cost more than
    two points of validation accuracy [ours].

    Forget batches pass batch normalisation by its running statistics [ours]: the statistics of a forget set alone,
    perhaps of a single class, are not those of the data that the model meets later, and would move the running ones.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, momentum=0, weight_decay=0))
    budget: Budget = field(default_factory=lambda: Budget(validation_drop=0.02))
    step: float = positive(0.1)  # change of a pixel; pixels are in [0, 1]
    neighbour: str = one_of("any_class", "wrong_class")  # classes that the argmax is over

    @property
    def reads_retain(self) -> bool:
        return False

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        forget = context.data[Subset.FORGET]
        batches = iter_batches(forget, self.recipe.batch_size)
        labels = torch.cat([self._neighbour_labels(context.original, batch) for batch in batches])
        unchanged = int((labels == forget.labels).count_nonzero())
        if unchanged:
            context.notes["neighbour"] = UNCHANGED.format(unchanged, len(labels))
        return {Subset.FORGET: forget.relabelled(labels)}

    def _neighbour_labels(self, original: nn.Module, batch: Batch) -> Tensor:
        """Return the neighbour label of each sample, int64 [b]."""
        images = batch.images.clone().requires_grad_(True)
        loss = F.cross_entropy(original(images), batch.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
        with torch.no_grad():
            logits = original((images + self.step * gradient.sign()).clamp(0, 1))
        if self.neighbour == "wrong_class":
            logits = logits.scatter(1, batch.labels[:, None], float("-inf"))
        labels: Tensor = logits.argmax(1)
        return labels

    def loss(self, context: Context) -> Loss:
        del context
        return self._loss

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return self.task_loss(model, batches, Subset.FORGET, running_statistics=True)
