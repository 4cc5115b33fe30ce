"""Fine-tuning alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from unlearn.errors import Problem
from unlearn.strategies.repair import Repair


@dataclass(frozen=True)
class Finetune(Repair):
    """No edit, only `Repair`: by default plain fine-tuning on the retain set, the baseline "FT" of many tables.

    The control for every perturbation: what of its effect is fine-tuning?
    """

    def check(self, parameters: Callable[[], Mapping[str, int]]) -> Iterator[Problem]:
        if self.movable != "all":
            yield Problem("strategy.movable", "all, since nothing is selected without an edit", self.movable)
