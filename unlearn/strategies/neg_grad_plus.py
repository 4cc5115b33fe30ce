"""NegGrad+."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import fraction, one_of, positive
from unlearn.strategies.ascent import bounded_loss
from unlearn.strategies.base import Batches, Context, Loss
from unlearn.strategies.iterative import Objective
from unlearn.strategies.memory_gate import import_gate, make_gate


@dataclass(frozen=True)
class NegGradPlus(Objective):
    """NegGrad+ (Kurmanji et al. 2023): descend on D_r while ascending on D_f.

    Minimises alpha CE(D_r) - (1 - alpha) g CE(D_f); an epoch is a pass over D_r. g is 1 in the paper; with
    `forget_while=remembered` it is the opening of the memory gate, 0 to 1 [ours].

    Samples of D_f whose loss exceeds `loss_cap` add nothing [ours]: without a bound the forgetting of a class of digits
    ended with a retain accuracy of 0.1, or in a NaN, as soon as alpha and learning rate sufficed to forget it.
    `loss_cap` = 1e9 is the plain objective. The paper's alpha is 0.95 to 0.9999; the default is the best on digits.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.02, schedule="cosine"))
    forget_while: str = one_of("remembered", "always")  # when the term on D_f acts: g is the memory gate, or 1
    alpha: float = fraction(0.9, zero=False)  # weight of the retain set, in (0, 1)
    loss_cap: float | None = positive(None)  # nats; null: ln C, the loss of a uniform guess among C classes

    def prepare(self) -> None:
        import_gate(self.forget_while)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)}

    def loss(self, context: Context) -> Loss:
        opening = make_gate(context, self.forget_while, self.recipe.batch_size)

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            retain = self.alpha * self.task_loss(model, batches, Subset.RETAIN)  # first: it updates running statistics
            weight = (1 - self.alpha) * opening(model)
            if not weight:
                return retain
            return retain - weight * bounded_loss(model, batches, self.loss_cap, self.recipe.label_smoothing)

        return loss
