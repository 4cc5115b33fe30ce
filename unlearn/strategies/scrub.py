"""SCRUB: move away from the original on the forget set, and back towards it on the retain set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least, positive
from unlearn.functional.divergence import kl
from unlearn.strategies.base import Batches, Context, Edit, Loss, Phase, compute_logits
from unlearn.strategies.gradient_phase import DualOptim, GradientPhase
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True)
class Scrub(Objective):
    """SCRUB (Kurmanji et al. 2023): follow the original p_0 on D_r, and diverge from it on D_f.

    Each of the first `msteps` epochs begins with a pass over D_f that minimises -T^2 KL(p_0^T || p^T). Every epoch ends
    with a pass over D_r that minimises alpha T^2 KL(p_0^T || p^T) + gamma CE. p^T is softmax(logits / T), T the
    temperature.

    On forget batches, batch normalisation uses its running statistics; retain batches update them [ours].

    Trap: at the original's weights the divergence has no gradient. Without batch normalisation or dropout the first
    pass over D_f changes them only by weight decay and rounding. Adam, which enlarges small gradients, still moves
    away from there, so it is the default, with a rate of 1e-3 instead of the published 5e-4 [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=6, optimizer="adam", lr=1e-3))
    temperature: float = positive(4.0)  # T
    alpha: float = at_least(0, 0.5)  # weight of the divergence from the original on D_r
    gamma: float = at_least(0, 1.0)  # weight of the cross-entropy on D_r
    msteps: int = at_least(0, 3)  # number of epochs that begin with a pass over D_f
    dual_optim: DualOptim = field(default_factory=DualOptim)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        for phase in super().phases(context, edit):
            forget_optimizer = self.dual_optim.recipe(self.recipe)
            yield GradientPhase(**vars(replace(phase, passes=self.passes)), forget_optimizer=forget_optimizer)

    def passes(self, epoch: int) -> tuple[Subset, ...]:
        """Return the subsets that an epoch goes through, in this order."""
        return (Subset.FORGET, Subset.RETAIN) if epoch < self.msteps else (Subset.RETAIN,)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {subset: context.data[subset] for subset in (Subset.FORGET, Subset.RETAIN)}

    def loss(self, context: Context) -> Loss:
        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            ((subset, batch),) = batches.items()
            with torch.no_grad():
                targets = context.original(batch.images)
            logits = compute_logits(model, batch.images, running_statistics=subset == Subset.FORGET)
            distance = self.temperature**2 * batch.mean(kl(targets, logits, self.temperature))
            if subset == Subset.FORGET:
                return -distance
            return self.alpha * distance + self.gamma * batch.cross_entropy(logits, self.recipe.label_smoothing)

        return loss
