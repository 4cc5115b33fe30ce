"""Fine-tuning on the retain set, with the paper's divergence from the original on the forget set."""

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
from unlearn.strategies.base import Batches, Context, Edit, Loss, Masks, Phase, outputs, task
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.memory_gate import gate, prepare_gate


@dataclass(frozen=True, kw_only=True)
class Repair(Iterative):
    """Fine-tuning that may follow an edit: L = CE(retain) + js_weight * JS(p(x_f), q), minimised [S].

    The paper's q are the original's outputs p_0(x_f); the sign of the weight is unknown. A third party used +0.1 with
    the mean of both KLs, which holds the model at the original's outputs on D_f. A negative weight pushes it away, and
    0 leaves the term out. With `js_from=labels`, q is certainty in the sample's own label [ours]: for what the original
    has learned by heart the two hardly differ, but of a mislabelled image only the label is pushed away, and no
    forward pass of the original is needed.

    With `js_while=remembered` the term acts as far as the forget set is classified correctly more often than unseen
    images would be (`MemoryGate`) [ours]. Without it the weight would have to suit each net and data set.

    Forget batches pass batch normalisation by its running statistics, which retain batches keep up to date [ours].
    """

    js_weight: float = finite(0.0)
    js_form: str = one_of("mixture", "mean_kl")
    js_from: str = one_of("labels", "original")  # what q is
    js_while: str = one_of("remembered", "always")  # when the term acts
    js_batch: float = fraction(0.25)  # forget images of a step: this fraction of the retain images, at least 1

    def problems(self, key: str) -> Iterator[Problem]:
        """Both KLs from certainty in a label are infinite."""
        if self.js_form == "mean_kl" and self.js_from == "labels":
            yield Problem(f"{key}.js_from", "original with js_form=mean_kl", self.js_from)

    def prepare(self) -> None:
        if self.js_weight != 0:
            prepare_gate(self.js_while)

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
        opening = gate(context, self.js_while, self.recipe.batch_size) if self.js_weight != 0 else lambda model: 0.0

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            repaired = task(model, batches, Subset.RETAIN, self.recipe.label_smoothing)
            weight = self.js_weight * opening(model)
            if weight == 0:
                return repaired
            forget = batches[Subset.FORGET]
            distances = self._divergence(outputs(model, forget.images, running_statistics=True), forget, context)
            return repaired + weight * forget.mean(distances).to(repaired.dtype)

        return loss

    def _divergence(self, logits: Tensor, forget: Batch, context: Context) -> Tensor:
        """Of each forget sample, from what `js_from` says."""
        if self.js_from == "labels":
            return js_to_labels(logits, forget.labels)
        with torch.no_grad():
            before = context.original(forget.images)
        return {"mixture": js_mixture, "mean_kl": mean_kl}[self.js_form](logits, before)
