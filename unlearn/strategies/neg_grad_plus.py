"""NegGrad+."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import one_of, share
from unlearn.strategies.ascent import Ascent
from unlearn.strategies.base import Batches, Context, Loss
from unlearn.strategies.memory_gate import gate, prepare_gate


@dataclass(frozen=True)
class NegGradPlus(Ascent):
    """Minimises alpha CE(D_r) - (1 - alpha) g CE(D_f) (Kurmanji et al. 2023); an epoch is a pass over D_r.

    g is 1 in the paper; with `forget_while=remembered` it is the opening of the memory gate, 0 to 1 [ours].

    The second term is bounded by `Ascent` [ours]: without a bound the forgetting of a class of digits ended with a
    retain accuracy of 0.1, or in a NaN, as soon as alpha and learning rate sufficed to forget it. `loss_cap` = 1e9 is
    the plain objective. The paper's alpha is 0.95 to 0.9999; the default is what served digits best.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.02, schedule="cosine"))
    forget_while: str = one_of("remembered", "always")
    alpha: float = share(0.9, zero=False)  # weight of the retain set

    def prepare(self) -> None:
        prepare_gate(self.forget_while)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)}

    def loss(self, context: Context) -> Loss:
        opening = gate(context, self.forget_while, self.recipe.batch_size)

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            retain = self.alpha * self.task(model, batches, Subset.RETAIN)  # first: it updates running statistics
            weight = (1 - self.alpha) * opening(model)
            return retain - weight * self.bounded(model, batches) if weight else retain

        return loss
