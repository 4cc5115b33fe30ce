"""Fine-tuning alone."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.base import Context, Edit, Masks
from unlearn.strategies.iterative import Selective
from unlearn.strategies.repair import Repair


@dataclass(frozen=True)
class Finetune(Selective, Repair):
    """No edit, only `Repair`: by default plain fine-tuning on the retain set, the baseline "FT" of many tables.

    The control for every perturbation: what of its effect is fine-tuning? Of `selection` only the best `k` move.
    """

    def trainable_masks(self, context: Context, edit: Edit) -> Masks | None:
        return self.movable(context)
