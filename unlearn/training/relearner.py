"""The training module that teaches a model the forget set again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.progress import Tick
from unlearn.core.types import Curve, ImageSource, Subset
from unlearn.data.loaders import PairedLoader
from unlearn.functional.estimates import is_correct
from unlearn.metrics.evidence import Relearning
from unlearn.strategies.base import task_loss
from unlearn.training.prediction import predict
from unlearn.training.recipe_module import RecipeModule
from unlearn.training.trainer import TrainerSettings

ROLE = "relearned"  # in the names of random streams, the same for every model


class RelearnerModule(RecipeModule):
    """Minimises cross-entropy on the forget set until the model has recovered its accuracy, or steps are used up.

    Args:
        model: the model, which is trained in place.
        relearning: recipe, maximum number of steps, and the steps after which accuracy is measured.
        loader: yields batches of the forget set.
        seed: the seed of the draws.
        forget: the forget set, on which accuracy is measured.
    """

    def __init__(
        self, model: nn.Module, relearning: Relearning, loader: PairedLoader, seed: int, forget: ImageSource
    ) -> None:
        super().__init__(model, relearning.recipe, loader, seed, ROLE)
        self.relearning = relearning
        self.forget = forget

    def relearn(self, settings: TrainerSettings, has_recovered: Callable[[float], bool], tick: Tick) -> Curve:
        """Train and measure forget accuracy.

        Args:
            settings: device, precision and other settings of the trainer.
            has_recovered: whether training may stop at a forget accuracy (0-1).
            tick: called with the steps done and in total.

        Returns:
            One row per measurement, `step` and `forget_accuracy` (0-1), from step 0 to the first recovered one.

        Raises:
            DivergenceError: a loss was not finite.
        """
        self.has_recovered, self.tick_step = has_recovered, tick
        self.accuracies: Curve = []
        if not self._measure(0):
            self.run(settings)
        return self.accuracies

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        return task_loss(self.model, batch, Subset.FORGET, self.recipe.label_smoothing)  # type: ignore[arg-type]

    def on_train_batch_end(self, *_: Any) -> None:
        """Measure forget accuracy if it is due."""
        if self.steps_taken == self.accuracies[-1]["step"]:
            return  # float16 skipped a step: nothing has changed since the last measurement
        step = self.steps_taken
        self.tick_step(step, self.relearning.steps)
        if self.relearning.is_due(step):
            self.trainer.should_stop = self._measure(step) or step >= self.relearning.steps

    def _measure(self, step: int) -> bool:
        """Record forget accuracy; returns whether it has recovered."""
        with torch.no_grad():
            accuracy = is_correct(predict(self.model, self.forget)).mean().item()
        self.accuracies.append({"step": step, "forget_accuracy": accuracy})
        return self.has_recovered(accuracy)
