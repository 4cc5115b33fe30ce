"""Original, retrained and guide: the same class, the same recipe, another index set."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from unlearn.data.loader import Batch, SharedBatch
from unlearn.modules.recipe_module import RecipeModule


class ClassifierModule(RecipeModule):
    """Minimises cross-entropy on the subset `train`."""

    def loss(self, batch: Mapping[str, Batch | SharedBatch]) -> Tensor:
        train, smoothing = batch["train"], self.recipe.label_smoothing
        logits = self.model(train.images)
        if isinstance(train, Batch):
            return F.cross_entropy(logits, train.labels, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, train.labels, label_smoothing=smoothing, reduction="none")
        return losses @ train.weights
