"""What strategies that raise the loss of the forget set have in common."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.core.validation import positive
from unlearn.strategies.base import Batches, outputs
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True, kw_only=True)
class Ascent(Objective, ABC):
    """Bounds what is raised: samples whose loss is above `loss_cap` add nothing (Unlearning with Control).

    Forget batches pass batch normalisation by its running statistics, which a forget set alone would drag away [ours].
    """

    loss_cap: float | None = positive(None)  # nats; null: ln C, the loss of a uniform guess

    def bounded(self, model: nn.Module, batches: Batches) -> Tensor:
        """Mean cross-entropy on the forget batch, the losses above the cap counting as 0."""
        forget = batches[Subset.FORGET]
        logits = outputs(model, forget.images, running_statistics=True)
        losses = F.cross_entropy(logits, forget.labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        cap = math.log(logits.shape[1]) if self.loss_cap is None else self.loss_cap
        return forget.mean(losses * (losses <= cap))
