"""Base class of objectives that read the forget set alone."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from unlearn.core.errors import Problem
from unlearn.core.types import ImageSource, Subset
from unlearn.strategies.base import Context
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True, kw_only=True)
class RetainFree(Objective, ABC):
    """Minimises a loss on D_f alone, for owners who no longer have the retain set.

    Forget batches pass batch normalisation by its running statistics, which therefore stay those of the original: the
    statistics of D_f alone, perhaps of a single class, are not those of the data that the model meets later.
    """

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from super().check(net)
        if self.recipe.label_smoothing:
            yield Problem("strategy.recipe.label_smoothing", "0: no label is a target", self.recipe.label_smoothing)

    @property
    def reads_retain(self) -> bool:
        return False

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {Subset.FORGET: context.data[Subset.FORGET]}
