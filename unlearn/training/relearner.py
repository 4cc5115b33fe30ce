"""A model that is taught the forget set again."""

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

ROLE = "relearned"  # of the streams, the same for every model


class RelearnerModule(RecipeModule):
    """Minimises cross-entropy on the forget set until the model is right on it again, or steps are over."""

    def __init__(self, model: nn.Module, how: Relearning, loader: PairedLoader, seed: int, forget: ImageSource) -> None:
        super().__init__(model, how.recipe, loader, seed, ROLE)
        self.how = how
        self.forget = forget

    def relearn(self, settings: TrainerSettings, back: Callable[[float], bool], tell: Tick) -> Curve:
        """Forget accuracy after so many steps, 0 included, up to the first for which `back`.

        Raises:
            DivergenceError: a loss was not finite.
        """
        self.back, self.tell = back, tell
        self.seen: Curve = []
        if not self._look(0):
            self.run(settings)
        return self.seen

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        return task_loss(self.model, batch, Subset.FORGET, self.recipe.label_smoothing)  # type: ignore[arg-type]

    def on_train_batch_end(self, *_: Any) -> None:
        """Look at it if it is time to."""
        if self.steps_taken == self.seen[-1]["step"]:
            return  # float16 skipped a step: nothing has changed since the last look
        step = self.steps_taken
        self.tell(step, self.how.steps)
        if self.how.is_due(step):
            self.trainer.should_stop = self._look(step) or step >= self.how.steps

    def _look(self, step: int) -> bool:
        with torch.no_grad():
            accuracy = is_correct(predict(self.model, self.forget)).mean().item()
        self.seen.append({"step": step, "forget_accuracy": accuracy})
        return self.back(accuracy)
