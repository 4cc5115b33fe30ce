"""Fine-tuning alone."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.repair import Repair


@dataclass(frozen=True)
class Finetune(Repair):
    """No edit, only `Repair`: by default plain fine-tuning on the retain set, the baseline "FT" of many tables.

    The control for every perturbation: what of its effect is fine-tuning?
    """
