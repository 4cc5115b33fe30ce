"""AMUN: fine-tune on adversarial neighbours of the forget set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import iter_batches
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, ImageSource, Subset
from unlearn.core.validation import at_least, positive
from unlearn.strategies.base import Batches, Context, Edit, Loss, Phase
from unlearn.strategies.iterative import Objective

PGD_BATCH = 256
ROUNDS = 12  # of PGD, the radius doubling from one to the next: 0.04 then reaches 80, more than any image of 28 x 28
UNCHANGED = "{:,} of {:,} forget samples have no adversarial neighbour: they got the most likely other class instead."


class Neighbours(NamedTuple):
    """Images float32 [n, c, h, w], their classes int64 [n], and where the model is still right, bool [n]."""

    images: Tensor
    classes: Tensor
    is_right: Tensor


@dataclass(frozen=True)
class Amun(Objective):
    """AMUN (Ebrahimpour-Boroojeny et al. 2025): train on the nearest images that the original gets wrong.

    For each (x, y) of D_f a neighbour x* is found on the original, which predicts y* != y for it
    (`find_neighbours`). Minimises the mean cross-entropy over D_r, D_f under its true labels, and {(x*, y*)}, which are
    not augmented. The predictions around D_f thus become less certain, as they are around unseen samples, while the
    model changes little: y* is what the original predicts for x* anyway. With `reads_retain_set=false` D_r is left out.

    Each step has a batch of every set, in proportion to their sizes; an epoch is a pass over D_r. Batches of D_f and of
    the neighbours pass batch normalisation by its running statistics [ours]. The authors fine-tune for 10 epochs by
    SGD at 0.01, and take 50 steps in each ball [C]; of 20 steps of a tenth of its radius, ten reach the border [ours].

    Trap: forget accuracy falls little and may not fall at all. The claim is about membership attacks, best `rmia`.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01))
    radius: float = positive(0.04)  # L2 radius of the first ball; pixels are in [0, 1]
    pgd_steps: int = at_least(1, 20)  # steps in each ball, of a tenth of its radius
    reads_retain_set: bool = True  # false: train on D_f and its neighbours alone

    @property
    def reads_retain(self) -> bool:
        return self.reads_retain_set

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        for phase in super().phases(context, edit):
            first, *others = phase.data
            sizes = {subset: self.recipe.batch_size * len(phase.data[subset]) for subset in others}
            batch_sizes = {subset: max(1, round(size / len(phase.data[first]))) for subset, size in sizes.items()}
            yield replace(phase, batch_sizes=batch_sizes)

    def data(self, context: Context) -> dict[Subset, ImageSource]:
        forget = context.data[Subset.FORGET]
        retain = {Subset.RETAIN: context.data[Subset.RETAIN]} if self.reads_retain_set else {}
        return retain | {Subset.FORGET: forget, Subset.ADVERSARIAL: self._neighbours(context, forget)}

    def _neighbours(self, context: Context, forget: ImageSource) -> Images:
        parts = [
            find_neighbours(context.original, batch.images, batch.labels, self.radius, self.pgd_steps)
            for batch in iter_batches(forget, PGD_BATCH)
        ]
        images, labels, is_right = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if is_right.any():
            context.notes["neighbour"] = UNCHANGED.format(int(is_right.count_nonzero()), len(forget))
        return Images(images, labels, forget.index)

    def loss(self, context: Context) -> Loss:
        n_forget = len(context.data[Subset.FORGET])
        sizes = {Subset.FORGET: n_forget, Subset.ADVERSARIAL: n_forget}
        if self.reads_retain_set:
            sizes = {Subset.RETAIN: context.n_retain} | sizes  # first: it updates running statistics

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            losses = [n * self.task_loss(model, batches, s, s is not Subset.RETAIN) for s, n in sizes.items()]
            return torch.stack(losses).sum() / sum(sizes.values())

        return loss


def find_neighbours(model: nn.Module, images: Tensor, labels: Tensor, radius: float, steps: int) -> Neighbours:
    """Find for each image a near one that a model gets wrong, by projected gradient ascent on the cross-entropy.

    Each step has a tenth of the radius, along the gradient of unit L2 norm, and is projected onto the ball around the
    image and onto [0, 1]. An image is ready as soon as its class is not its label; all others go on, after `steps`
    steps in a ball of twice the radius. All images of the batch take their steps at once; the result of each is the
    same as by itself.

    Args:
        model: in eval mode, frozen.
        images: float32 [n, c, h, w] in [0, 1].
        labels: int64 [n].
        radius: L2 radius of the first ball.
        steps: steps in each ball.

    Returns:
        The neighbours; an image that is not ready after `ROUNDS` balls gets the most likely class except its label.
    """
    neighbours, classes = images.clone(), labels.clone()
    active = torch.arange(len(images), device=images.device)
    gradients = _ascent_direction(model, images, labels)[0]
    for number in range(ROUNDS * steps):
        ball = radius * 2 ** (number // steps)
        start, truth = images[active], labels[active]
        change = neighbours[active] + ball / 10 * gradients - start
        neighbours[active] = moved = (start + _shorten(change, ball)).clamp(0, 1)
        gradients, logits = _ascent_direction(model, moved, truth)
        classes[active] = logits.scatter(1, truth[:, None], float("-inf")).argmax(1)
        is_right = logits.argmax(1) == truth
        active, gradients = active[is_right], gradients[is_right]
        if not len(active):
            break
    is_right = torch.zeros_like(labels, dtype=torch.bool).index_fill(0, active, True)
    return Neighbours(neighbours, classes, is_right)


def _ascent_direction(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the cross-entropy by the images, of unit L2 norm, and the logits [n, C]."""
    images = images.detach().requires_grad_(True)
    logits = model(images)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), images)
    norms = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
    return gradient / norms.view(-1, 1, 1, 1), logits.detach()


def _shorten(changes: Tensor, radius: float) -> Tensor:
    """Return changes [n, c, h, w], shortened to an L2 norm of at most `radius`."""
    norms = changes.flatten(1).norm(dim=1).clamp(min=radius)
    shortened: Tensor = changes * (radius / norms).view(-1, 1, 1, 1)
    return shortened
