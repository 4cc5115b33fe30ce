"""One phase of a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.data.loader import Batch, PairedLoader
from unlearn.modules.prediction import predict
from unlearn.modules.recipe_module import RecipeModule
from unlearn.strategies.base import Phase
from unlearn.types import ImageSource, Predictions, Subset


class UnlearnerModule(RecipeModule):
    """Minimises a phase's loss; entries that may not move are put back after each step, bit for bit.

    Masking gradients instead would leak through momentum and weight decay.
    """

    def __init__(
        self,
        model: nn.Module,
        phase: Phase,
        loader: PairedLoader,
        seed: int,
        watched: Mapping[Subset, ImageSource] | None = None,
    ) -> None:
        super().__init__(model, phase.recipe, loader, seed, "unlearned")
        self.phase = phase
        self.watched = watched or {}
        self._start = {name: p.detach().clone() for name, p in model.named_parameters()} if phase.movable else {}

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        return self.phase.loss(self.model, batch)  # type: ignore[arg-type]  # Subset is a str

    def on_train_start(self) -> None:
        """Note what the model predicts before the first epoch."""
        self._before = self._predictions()

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """Restore what is frozen."""
        movable = self.phase.movable
        if movable is None:
            return
        for name, p in self.model.named_parameters():
            p.copy_(torch.where(movable[name], p, self._start[name]))

    def on_train_epoch_end(self) -> None:
        """Stop where the phase's own rule says so."""
        super().on_train_epoch_end()
        if self.phase.stop is not None and self.phase.stop(self._before, self._predictions()):
            self.trainer.should_stop = True

    def _predictions(self) -> dict[Subset, Predictions]:
        return {subset: predict(self.model, data) for subset, data in self.watched.items()}
