"""The data and loss of strategies that teach wrong labels while they fine-tune on the retain set."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearn.core.batch import iter_batches
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.strategies.base import Batches, Context, Loss, task_loss
from unlearn.strategies.memory_gate import make_gate


def relabelled_data(context: Context) -> Mapping[Subset, ImageSource]:
    """Return the retain set, and the forget set with one wrong label for each sample.

    A wrong label is drawn once per sample, uniformly among the other classes [ours]. The authors' code draws a label
    again for every batch, uniformly over all classes, so that one draw in C gives the right label [C].
    """
    forget = context.data[Subset.FORGET]
    wrong = draw_wrong_labels(forget.labels, count_classes(context), context.generator("relabel"))
    return {Subset.RETAIN: context.data[Subset.RETAIN], Subset.FORGET: forget.relabelled(wrong)}


def relabelling_loss(context: Context, recipe: Recipe, forget_while: str, forget_weight: float | None) -> Loss:
    """Return the loss CE(D_r) + w g CE(D_f, wrong labels), each term a mean over its batch.

    The memory gate g matters: without it a net without batch normalisation forgets far more than retraining does. On
    6,000 images of CIFAR-10 (JPEG copy, `model=cnn`, seed 10) SalUn ended at a forget accuracy of 0.18 instead of 0.56,
    and at a test accuracy of 0.47 instead of 0.55 [ours].

    With w = 1 a small random forget set outweighs the retain set: for a tenth of digits it left a retain accuracy of
    0.82 instead of 1.00 [ours].

    Forget batches pass batch normalisation by its running statistics, which retain batches keep up to date [ours].

    Args:
        context: the data, and the stream of the memory gate.
        recipe: of the fine-tuning; its label smoothing holds for both terms.
        forget_while: `always` (g = 1), or `remembered` (g is the opening of the memory gate, 0 to 1).
        forget_weight: w; None: n_f / n_r, so that every sample of D has the same weight, as if D were trained on with
            the labels of D_f replaced [ours].
    """
    weight = len(context.data[Subset.FORGET]) / context.n_retain if forget_weight is None else forget_weight
    opening, label_smoothing = make_gate(context, forget_while, recipe.batch_size), recipe.label_smoothing

    def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
        retain = task_loss(model, batches, Subset.RETAIN, label_smoothing)  # first: it updates running statistics
        gated = weight * opening(model)
        if gated == 0:
            return retain
        return retain + gated * task_loss(model, batches, Subset.FORGET, label_smoothing, running_statistics=True)

    return loss


def draw_wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Draw for each label another class, all other classes equally likely.

    Args:
        labels: the right labels, int64 [n], 0 to `classes` - 1.
        classes: the number of classes.
        generator: the stream to draw from, on the CPU.

    Returns:
        Labels int64 [n], on the device of `labels`.
    """
    steps = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + steps.to(labels.device)) % classes


@torch.no_grad()
def count_classes(context: Context) -> int:
    """Return the number of outputs of the original, from one forward pass."""
    forget = context.data[Subset.FORGET]
    (batch,) = iter_batches(forget.take(torch.tensor([0], device=forget.labels.device)), 1)
    return int(context.original(batch.images).shape[1])
