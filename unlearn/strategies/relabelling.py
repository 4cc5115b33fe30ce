"""What strategies that teach wrong labels beside the retain set have in common."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.batch import sequential
from unlearn.checks import positive
from unlearn.strategies.base import Batches, Context, Loss
from unlearn.strategies.iterative import Objective
from unlearn.types import ImageSource, Subset


@dataclass(frozen=True, kw_only=True)
class Relabelling(Objective, ABC):
    """Minimises CE(D_r) + w CE(D_f, wrong labels), each a mean over its batch; an epoch is a pass over D_r.

    A wrong label is drawn once per sample, uniformly among the other classes [ours]. The authors' code draws a label
    for every batch again, uniformly over all classes, so that the right one comes up in one draw of C [C].

    w is n_f / n_r unless set, so that every
    sample of D weighs alike, as if D were trained on with the labels of D_f replaced [ours]. With w = 1 a small random
    forget set outweighs what is kept: of a tenth of digits it left a retain accuracy of 0.82 instead of 1.00.

    Forget batches pass batch normalisation by its running statistics, which retain batches keep up to date [ours].
    """

    forget_weight: float | None = positive(None)  # w; null: n_f / n_r

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        forget = context.data[Subset.FORGET]
        wrong = wrong_labels(forget.labels, classes(context), context.generator("relabel"))
        return {Subset.RETAIN: context.data[Subset.RETAIN], Subset.FORGET: forget.relabelled(wrong)}

    def loss(self, context: Context) -> Loss:
        alike = len(context.data[Subset.FORGET]) / context.n_retain
        weight = alike if self.forget_weight is None else self.forget_weight

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            retain = self.task(model, batches, Subset.RETAIN)  # first: it brings running statistics up to date
            return retain + weight * self.task(model, batches, Subset.FORGET, running_statistics=True)

        return loss


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each of `labels` int64 [n] another one of 0 to `classes` - 1, all equally likely; on the labels' device."""
    steps = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + steps.to(labels.device)) % classes


@torch.no_grad()
def classes(context: Context) -> int:
    """Outputs of the original."""
    forget = context.data[Subset.FORGET]
    (batch,) = sequential(forget.take(torch.tensor([0], device=forget.labels.device)), 1)
    return int(context.original(batch.images).shape[1])
