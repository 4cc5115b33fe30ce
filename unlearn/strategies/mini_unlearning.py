"""Replaying the end of training without the forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import at_least
from unlearn.strategies.base import Batches, Context, Edit, Phase, task
from unlearn.strategies.iterative import Iterative


@dataclass(frozen=True)
class MiniUnlearning(Iterative):
    """After Mini-Unlearning (2024), whose update rule is not public: this one is ours.

    It goes back to the weights and the optimizer of the original's training `replayed` epochs before its end, and does
    these epochs again: the same batches in the same order and augmentation, without the rows of D_f, each loss still
    divided by the size of the whole batch; dropout has the same seed, but draws for fewer rows. All epochs are the
    original's training without D_f, from the original's own initialisation: not `retrained`, which has another.
    `recipe` is that of the training. The state at that epoch is an artefact of the original, made by training up to
    there once more; that is not counted as unlearning, since whoever plans for it keeps the state while training.
    """

    recipe: Recipe = field(default_factory=Recipe)
    replayed: int = at_least(1, 5)  # of the training's epochs

    @property
    def reads_retain(self) -> bool:
        return False

    @property
    def history(self) -> int | None:
        return self.replayed

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        yield Phase(
            {Subset.TRAIN: context.data[Subset.TRAIN]}, self._loss, self.recipe, None, self.budget, replays=True
        )

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return task(model, batches, Subset.TRAIN, self.recipe.label_smoothing)
