"""Fine-tuning alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn

from unlearn.core.errors import Problem
from unlearn.functional.parameter_scores import Need
from unlearn.strategies.base import Context, Edit, Masks
from unlearn.strategies.repair import Repair
from unlearn.strategies.selection import All, Selection, check_trainable, fraction_or_count, trainable_mask


@dataclass(frozen=True)
class Finetune(Repair):
    """Fine-tuning without an edit (`Repair` alone): by default on the retain set, the baseline "FT" of many tables.

    It is the control for every perturbation: how much of the effect is fine-tuning? Only the weights that `selection`
    ranks among the first `k` may change; all others end bit-identical.
    """

    selection: Selection = field(default_factory=All)  # which weights may change
    k: float | int = fraction_or_count(1.0)  # of the eligible weights, those that may change

    def needs(self) -> tuple[Need, ...]:
        return self.selection.needs()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from check_trainable(self.selection, self.k, net)

    def trainable_mask(self, context: Context, edit: Edit) -> Masks | None:
        del edit
        return trainable_mask(self.selection, self.k, context)
