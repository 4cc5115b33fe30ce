"""The training module of all classifiers: original, retrained, guide and others."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unlearn.core.batch import Batch
from unlearn.training.recipe_module import RecipeModule


class ClassifierModule(RecipeModule):
    """Minimises cross-entropy on the subset `train`."""

    def loss(self, batch: Mapping[str, Batch]) -> Tensor:
        train = batch["train"]
        return train.cross_entropy(self.model(train.images), self.recipe.label_smoothing)
