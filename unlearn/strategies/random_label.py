"""Random labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import one_of, positive
from unlearn.strategies.base import Context, Loss
from unlearn.strategies.iterative import Objective
from unlearn.strategies.memory_gate import import_gate
from unlearn.strategies.relabelling import relabelled_data, relabelling_loss


@dataclass(frozen=True)
class RandomLabel(Objective):
    """Random labels (Graves et al. 2021): train all weights on wrong labels for D_f.

    Minimises CE(D_r) + w g CE(D_f, wrong labels); an epoch is a pass over D_r.

    Ours: a wrong label is drawn once per sample, and w defaults to n_f / n_r (see `relabelled_data` and
    `relabelling_loss` for how the authors' code differs).
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
    forget_while: str = one_of("remembered", "always")  # when the term on D_f acts: g is the memory gate, or 1
    forget_weight: float | None = positive(None)  # w; null: n_f / n_r

    def prepare(self) -> None:
        import_gate(self.forget_while)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return relabelled_data(context)

    def loss(self, context: Context) -> Loss:
        return relabelling_loss(context, self.recipe, self.forget_while, self.forget_weight)
