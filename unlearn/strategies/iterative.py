"""Base classes of strategies that fine-tune: a recipe, a budget, an objective, and which weights may change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.functional.parameter_scores import Need
from unlearn.strategies.base import Batches, Budget, Context, Edit, Loss, Phase, Strategy, task_loss
from unlearn.strategies.selection import All, Selection, check_trainable, fraction_or_count, trainable_mask


@dataclass(frozen=True, kw_only=True)
class Iterative(Strategy, ABC):
    """Fine-tunes by a recipe, until its epochs or its budget end."""

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=6))  # of the fine-tuning
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, kw_only=True)
class Objective(Iterative, ABC):
    """Minimises a loss. A subclass gives the `data` and the `loss`.

    `selection` and `k` choose which weights may change; all others end bit-identical. Any selection goes with any
    objective: SalUn's mask is `selection=saliency` with k = 0.5.
    """

    selection: Selection = field(default_factory=All)  # which weights may change
    k: float | int = fraction_or_count(1.0)  # of the eligible weights, those that may change

    def needs(self) -> tuple[Need, ...]:
        return self.selection.needs()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from check_trainable(self.selection, self.k, net)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        mask = trainable_mask(self.selection, self.k, context)
        yield Phase(self.data(context), self.loss(context), self.recipe, mask, self.budget)

    @abstractmethod
    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        """Return the subsets that batches are drawn from; an epoch is a pass over the first."""

    @abstractmethod
    def loss(self, context: Context) -> Loss:
        """Return the loss to minimise."""

    def task_loss(self, model: nn.Module, batches: Batches, subset: Subset, running_statistics: bool = False) -> Tensor:
        """Return the mean cross-entropy on the batch of a subset, in nats, with the recipe's label smoothing.

        Args:
            model: the model being trained.
            batches: the batches of this step, by subset.
            subset: the subset to compute it on.
            running_statistics: as for `compute_logits`.
        """
        return task_loss(model, batches, subset, self.recipe.label_smoothing, running_statistics)
