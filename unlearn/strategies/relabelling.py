"""What strategies that teach wrong labels beside the retain set have in common."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.batch import iter_batches
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import one_of, positive
from unlearn.strategies.base import Batches, Context, Loss
from unlearn.strategies.iterative import Objective
from unlearn.strategies.memory_gate import gate, prepare_gate


@dataclass(frozen=True, kw_only=True)
class Relabelling(Objective, ABC):
    """Minimises CE(D_r) + w g CE(D_f, wrong labels), each a mean over its batch; an epoch is a pass over D_r.

    A wrong label is drawn once per sample, uniformly among the other classes [ours]. The authors' code draws a label
    for every batch again, uniformly over all classes, so that the right one comes up in one draw of C [C].

    w is n_f / n_r unless set: every sample of D has the same weight, as if D were trained on with the labels of D_f
    replaced [ours]. With w = 1 a small random forget set outweighs what is kept: of a tenth of digits it left a retain
    accuracy of 0.82 instead of 1.00.

    g is 1 or, with `forget_while=remembered`, the opening of the memory gate, 0 to 1. Without it a net without batch
    normalisation forgets far more than retraining: on 6,000 images of CIFAR-10 (JPEG copy, `model=cnn`, seed 10) SalUn
    ended at a forget accuracy of 0.18 instead of 0.56, and at a test accuracy of 0.47 instead of 0.55 [ours].

    Forget batches pass batch normalisation by its running statistics, which retain batches keep up to date [ours].
    """

    forget_while: str = one_of("remembered", "always")
    forget_weight: float | None = positive(None)  # w; null: n_f / n_r

    def prepare(self) -> None:
        prepare_gate(self.forget_while)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        forget = context.data[Subset.FORGET]
        wrong = wrong_labels(forget.labels, classes(context), context.generator("relabel"))
        return {Subset.RETAIN: context.data[Subset.RETAIN], Subset.FORGET: forget.relabelled(wrong)}

    def loss(self, context: Context) -> Loss:
        alike = len(context.data[Subset.FORGET]) / context.n_retain
        weight = alike if self.forget_weight is None else self.forget_weight
        opening = gate(context, self.forget_while, self.recipe.batch_size)

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            retain = self.task(model, batches, Subset.RETAIN)  # first: it brings running statistics up to date
            gated = weight * opening(model)
            if gated == 0:
                return retain
            return retain + gated * self.task(model, batches, Subset.FORGET, running_statistics=True)

        return loss


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each of `labels` int64 [n] another one of 0 to `classes` - 1, all equally likely; on the labels' device."""
    steps = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + steps.to(labels.device)) % classes


@torch.no_grad()
def classes(context: Context) -> int:
    """Outputs of the original."""
    forget = context.data[Subset.FORGET]
    (batch,) = iter_batches(forget.take(torch.tensor([0], device=forget.labels.device)), 1)
    return int(context.original(batch.images).shape[1])
