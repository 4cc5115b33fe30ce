"""SalUn."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.core.recipe import Recipe
from unlearn.strategies.relabelling import Relabelling
from unlearn.strategies.selection import Saliency, Selection, amount


@dataclass(frozen=True)
class Salun(Relabelling):
    """`Relabelling` of the weights that are salient for D_f alone; all others end bit-identical (Fan et al. 2024).

    `Relabelling` says how our labels differ from the authors' code.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.013, schedule="cosine"))
    selection: Selection = field(default_factory=Saliency)
    k: float | int = amount(0.5)
