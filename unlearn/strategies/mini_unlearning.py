"""Repeat the end of training without the forgotten samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import at_least
from unlearn.strategies.base import Batches, Context, Edit, Phase, task_loss
from unlearn.strategies.iterative import Iterative


@dataclass(frozen=True)
class MiniUnlearning(Iterative):
    """Repeat the last epochs of the original's training without D_f.

    After Mini-Unlearning (2024), whose update rule is not public: this rule is ours.

    It restores the weights and the optimizer state of `replayed` epochs before the end of training, and repeats these
    epochs: the same batches in the same order and augmentation, without the rows of D_f. Each loss is still divided by
    the size of the whole batch; dropout has the same seed, but draws for fewer rows. With all epochs it is the
    original's training without D_f from the original's initialisation, unlike `retrained`, which has another.

    Its cost leaves out how the state is obtained: the state is an artifact of the original, made by training up to that
    epoch once more, since a user who plans for this strategy saves the state during training.
    """

    recipe: Recipe = field(default_factory=Recipe)  # that of the original's training
    replayed: int = at_least(1, 5)  # number of training epochs to repeat

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
        return task_loss(model, batches, Subset.TRAIN, self.recipe.label_smoothing)
