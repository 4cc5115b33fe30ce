"""Fine-tuning on the retain set, with the paper's divergence term on the forget set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.errors import Problem
from unlearn.core.types import Subset
from unlearn.core.validation import finite, fraction, one_of
from unlearn.functional.divergence import js_mixture, js_to_labels, mean_kl
from unlearn.strategies.base import Batches, Context, Edit, Loss, Masks, Phase, compute_logits, task_loss
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.memory_gate import import_gate, make_gate


@dataclass(frozen=True, kw_only=True)
class Repair(Iterative):
    """Fine-tuning, perhaps after an edit: minimises CE(D_r) + js_weight * JS(p(x_f), q) [S].

    In the paper q is the original's output p_0(x_f); the sign of the weight is not known. A third party used +0.1 with
    the mean of both KLs, which holds the model at the original's outputs on D_f. A negative weight pushes the model
    away from q, and 0 leaves the term out. With `js_from=labels` q is certainty in the sample's label [ours]: for a
    sample that the original has memorised the two hardly differ, but for a mislabelled image the term then pushes away
    the label alone, and it needs no forward pass of the original.

    With `js_while=remembered` the term is multiplied by the opening of the memory gate, which closes once the forget
    set is classified no better than unseen images would be (`MemoryGate`) [ours]. Without it the weight would have to
    be tuned for each net and data set.

    Forget batches pass batch normalisation by its running statistics, which retain batches keep up to date [ours].
    """

    js_weight: float = finite(0.0)  # weight of the divergence; below 0 pushes away from q, 0 leaves it out
    js_form: str = one_of("mixture", "mean_kl")  # Jensen-Shannon divergence, or the mean of both KLs
    js_from: str = one_of("labels", "original")  # the target q: certainty in the label, or the original's outputs
    js_while: str = one_of("remembered", "always")  # when the term acts
    js_batch: float = fraction(0.25, one=True)  # forget images of a step, per retain image; at least 1 image

    def problems(self, key: str) -> Iterator[Problem]:
        """Yield a problem for the mean of both KLs from certainty in a label, which is infinite."""
        if self.js_form == "mean_kl" and self.js_from == "labels":
            yield Problem(f"{key}.js_from", "original with js_form=mean_kl", self.js_from)

    def prepare(self) -> None:
        if self.js_weight != 0:
            import_gate(self.js_while)

    def trainable_mask(self, context: Context, edit: Edit) -> Masks | None:
        """Return the entries that the fine-tuning may change; None: all."""
        del context, edit
        return None

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        subsets = (Subset.RETAIN,) if self.js_weight == 0 else (Subset.RETAIN, Subset.FORGET)
        yield Phase(
            {subset: context.data[subset] for subset in subsets},
            self._loss(context),
            self.recipe,
            self.trainable_mask(context, edit),
            self.budget,
            batch_sizes={Subset.FORGET: max(1, round(self.js_batch * self.recipe.batch_size))},
        )

    def _loss(self, context: Context) -> Loss:
        batch_size, label_smoothing = self.recipe.batch_size, self.recipe.label_smoothing
        opening = make_gate(context, self.js_while, batch_size) if self.js_weight != 0 else lambda model: 0.0

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            retain = task_loss(model, batches, Subset.RETAIN, label_smoothing)
            weight = self.js_weight * opening(model)
            if weight == 0:
                return retain
            forget = batches[Subset.FORGET]
            distances = self._divergence(compute_logits(model, forget.images, running_statistics=True), forget, context)
            return retain + weight * forget.mean(distances).to(retain.dtype)

        return loss

    def _divergence(self, logits: Tensor, forget: Batch, context: Context) -> Tensor:
        """Return the divergence of each forget sample [b] from q, in nats."""
        if self.js_from == "labels":
            return js_to_labels(logits, forget.labels)
        with torch.no_grad():
            reference = context.original(forget.images)
        return {"mixture": js_mixture, "mean_kl": mean_kl}[self.js_form](logits, reference)
