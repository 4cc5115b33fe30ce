"""What strategies that fine-tune have in common: a recipe, a budget, an objective, and which weights may move."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.functional.parameter_scores import Need
from unlearn.strategies.base import Batches, Budget, Context, Edit, Loss, Masks, Phase, Strategy, task
from unlearn.strategies.selection import All, Selection, amount, check_movable, movable


@dataclass(frozen=True, kw_only=True)
class Iterative(Strategy, ABC):
    """Fine-tunes by a recipe, until its epochs or its budget are over."""

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=6))
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, kw_only=True)
class Selective(Strategy, ABC):
    """`selection` and `k` say which weights may move; all others end bit-identical.

    Any selection goes with any objective: SalUn's mask is `selection=saliency` with k = 0.5.
    """

    selection: Selection = field(default_factory=All)
    k: float | int = amount(1.0)

    def needs(self) -> tuple[Need, ...]:
        return self.selection.needs()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from check_movable(self.selection, self.k, net)

    def movable(self, context: Context) -> Masks | None:
        """By parameter name; None: everything."""
        return movable(self.selection, self.k, context)


@dataclass(frozen=True, kw_only=True)
class Objective(Selective, Iterative, ABC):
    """Descends an objective."""

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        yield Phase(self.data(context), self.loss(context), self.recipe, self.movable(context), self.budget)

    @abstractmethod
    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        """What batches are made of; an epoch is a pass over the first."""

    @abstractmethod
    def loss(self, context: Context) -> Loss:
        """What is minimised."""

    def task(self, model: nn.Module, batches: Batches, subset: Subset, running_statistics: bool = False) -> Tensor:
        """Mean cross-entropy on the batch of a subset; with `running_statistics` as `outputs` says."""
        return task(model, batches, subset, self.recipe.label_smoothing, running_statistics)
