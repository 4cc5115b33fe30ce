"""Gradient ascent on the forget set, with bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.checks import checked, positive
from unlearn.recipe import Recipe
from unlearn.statistics import correct
from unlearn.strategies.base import Context, Edit, Labelled, Phase, Strategy, outputs
from unlearn.types import Predictions, Subset


@dataclass(frozen=True)
class GradientAscent(Strategy):
    """Minimises -CE(D_f) (Golatkar et al. 2020), which alone has neither bound nor end.

    Samples whose loss is above `loss_cap` add nothing (Unlearning with Control), and gradients are clipped. It stops
    after the first epoch that leaves forget accuracy no higher than the original's validation accuracy, which is what
    data it never saw would score; `stop_accuracy` replaces that target [ours]. Class-wise forgetting needs a low one,
    such as 0.0: validation holds the class as well.

    Batch normalisation passes by its running statistics, which a forget set alone would drag away [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=100, lr=0.01, momentum=0, weight_decay=0, clip=1.0))
    loss_cap: float | None = positive(None)  # nats; null: ln C, the loss of a uniform guess
    stop_accuracy: float | None = checked(None, "a share in [0, 1]", lambda v: 0 <= v <= 1)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        del context, edit
        watched = (Subset.FORGET, Subset.VALIDATION)
        yield Phase((Subset.FORGET,), self._loss, self.recipe, watched=watched, stop=self._forgotten)

    def _loss(self, model: nn.Module, batch: Mapping[Subset, Labelled]) -> Tensor:
        forget = batch[Subset.FORGET]
        logits = outputs(model, forget.images, running_statistics=True)
        losses = F.cross_entropy(logits, forget.labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        cap = math.log(logits.shape[1]) if self.loss_cap is None else self.loss_cap
        return -(losses * (losses <= cap)).mean()

    def _forgotten(self, before: Mapping[Subset, Predictions], now: Mapping[Subset, Predictions]) -> bool:
        unseen = correct(before[Subset.VALIDATION]).mean().item()
        target = unseen if self.stop_accuracy is None else self.stop_accuracy
        return correct(now[Subset.FORGET]).mean().item() <= target
