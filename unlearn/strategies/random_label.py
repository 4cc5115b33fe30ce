"""Random labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.recipe import Recipe
from unlearn.strategies.relabelling import Relabelling


@dataclass(frozen=True)
class RandomLabel(Relabelling):
    """`Relabelling` of all weights (Graves et al. 2021).

    Labels differ from the code behind the SalUn tables, which draws them again for every batch, uniformly over all
    classes; ours are drawn once per sample, and are always wrong.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
