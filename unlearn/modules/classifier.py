"""Original, retrained and guide: the same class, the same recipe, another index set."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unlearn.data.loader import Batch
from unlearn.modules.recipe_module import RecipeModule


class ClassifierModule(RecipeModule):
    """Minimises cross-entropy on the subset `train`."""

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        images, labels = batch["train"]
        return F.cross_entropy(self.model(images), labels, label_smoothing=self.recipe.label_smoothing)
