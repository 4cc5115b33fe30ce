"""Fine-tuning on the retain set, with the paper's divergence from the original on the forget set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.checks import at_least, finite, fraction, one_of
from unlearn.divergence import js_mixture, mean_kl
from unlearn.strategies.base import Batches, Context, Edit, Loss, Masks, Phase, outputs, task
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.memory_gate import MemoryGate
from unlearn.types import Subset


@dataclass(frozen=True, kw_only=True)
class Repair(Iterative):
    """Fine-tuning that may follow an edit: L = CE(retain) + js_weight * JS(p(x_f), p_0(x_f)), minimised [S].

    The sign of the weight is unknown in the paper. A third party used +0.1 with the mean of both KLs, which holds the
    model at the original's outputs on D_f; a negative weight pushes it away from them, and 0 leaves the term out.

    With `js_while=remembered` the term acts only while the forget set is classified correctly more often than unseen
    images are (`MemoryGate`) [ours]. Without such a stop a weight that forgets one data set ruins the next.

    Forget batches pass batch normalisation by its running statistics, which retain batches keep up to date [ours].
    """

    js_weight: float = finite(0.0)
    js_form: str = one_of("mixture", "mean_kl")
    js_while: str = one_of("remembered", "always")  # when the term acts
    js_check_every: int = at_least(1, 10)  # steps between two checks of js_while=remembered
    js_batch: float = fraction(0.25)  # forget images of a step: this fraction of the retain images, at least 1

    def trainable_masks(self, context: Context, edit: Edit) -> Masks | None:
        """Which entries the fine-tuning may change; None: all."""
        del context, edit
        return None

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        subsets = (Subset.RETAIN,) if self.js_weight == 0 else (Subset.RETAIN, Subset.FORGET)
        yield Phase(
            {subset: context.data[subset] for subset in subsets},
            self._loss(context),
            self.recipe,
            self.trainable_masks(context, edit),
            self.budget,
            batch_sizes={Subset.FORGET: max(1, round(self.js_batch * self.recipe.batch_size))},
        )

    def _loss(self, context: Context) -> Loss:
        divergence = {"mixture": js_mixture, "mean_kl": mean_kl}[self.js_form]
        gated = self.js_weight != 0 and self.js_while == "remembered"
        gate = MemoryGate(context, self.js_check_every) if gated else None

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            repaired = task(model, batches, Subset.RETAIN, self.recipe.label_smoothing)
            if self.js_weight == 0 or (gate and not gate.is_open(model)):
                return repaired
            forget = batches[Subset.FORGET]
            with torch.no_grad():
                before = context.original(forget.images)
            distances = divergence(outputs(model, forget.images, running_statistics=True), before)
            return repaired + self.js_weight * forget.mean(distances).to(repaired.dtype)

        return loss
