"""Random labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.core.recipe import Recipe
from unlearn.strategies.relabelling import Relabelling


@dataclass(frozen=True)
class RandomLabel(Relabelling):
    """`Relabelling` of all weights (Graves et al. 2021); it says how our labels differ from the authors' code."""

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
