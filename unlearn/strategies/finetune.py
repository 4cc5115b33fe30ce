"""Fine-tuning alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn

from unlearn.errors import Problem
from unlearn.scores import Need
from unlearn.strategies.base import Context, Edit, Masks
from unlearn.strategies.repair import Repair
from unlearn.strategies.selection import All, Selection, amount, check_movable, movable


@dataclass(frozen=True)
class Finetune(Repair):
    """No edit, only `Repair`: by default plain fine-tuning on the retain set, the baseline "FT" of many tables.

    The control for every perturbation: what of its effect is fine-tuning? Of `selection` only the best `k` move.
    """

    selection: Selection = field(default_factory=All)
    k: float | int = amount(1.0)

    def needs(self) -> tuple[Need, ...]:
        return self.selection.needs()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from check_movable(self.selection, self.k, net)

    def movable_entries(self, context: Context, edit: Edit) -> Masks | None:
        return movable(self.selection, self.k, context)
