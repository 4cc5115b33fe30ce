"""SFRon: saliency-masked ascent on the forget set every few steps of fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least, positive
from unlearn.functional.parameter_scores import GradientStatistic, Need, Scores
from unlearn.strategies.base import Batches, Context, Edit, Loss, Phase, compute_logits
from unlearn.strategies.gradient_phase import DualOptim, GradientPhase
from unlearn.strategies.iterative import Objective
from unlearn.strategies.one_device import OneDevice
from unlearn.strategies.selection import trainable_mask

SQUARES = GradientStatistic("mean_square")
TINY = 1e-15  # added to both squares [C]
SMALLEST_LOSS = 0.01  # nats; see `Sfron`


@dataclass(frozen=True)
class Sfron(OneDevice, Objective):
    """SFRon (Huang et al. 2024): ascend on D_f along the weights that matter more to it than to D_r.

    Every `forget_every`-th retain step follows a forget step, which minimises -alpha_t mean_i w_i l_i. l_i are the
    cross-entropies of the batch of B samples and w_i = B l_i^-lambda / sum_j l_j^-lambda, without a gradient, so that
    samples that are forgotten already count less. alpha_t = alpha (1 + cos(pi t / T)) / 2 falls to 0. The gradient is
    multiplied by the mask 1[F_f / F_r >= gamma] and its norm clipped at `forget_clip`. Retain steps minimise CE(D_r).
    F_f and F_r are the mean squares of the gradient on D_f and D_r.

    The authors take 1,500 steps of 128 images by SGD with a rate of 0.01, a cosine schedule, and alpha = 25 [C]. They
    square means over batches; here samples are squared, so that the mask does not depend on a batch size [ours]. Losses
    below 0.01 weigh as 0.01: a sample whose loss is 0 in float32 would take all the weight, and has no gradient; on
    digits a class then was not forgotten at all [ours]. Forget batches pass batch normalisation by its running
    statistics [ours].

    The weights w_i refer to the whole batch, so SFRon runs on one device.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
    alpha: float = positive(25.0)  # the largest weight of the forget loss
    adaptivity: float = at_least(0, 0.5)  # lambda; 0 weighs all samples equally
    gamma: float = at_least(0, 1.0)  # the smallest F_f / F_r of an entry that forget steps move
    forget_every: int = at_least(1, 5)  # retain steps per forget step
    forget_clip: float = positive(7.0)  # largest norm of the gradient of a forget step
    retain_samples: int | None = at_least(1, 2000)  # samples of D_r for F_r, evenly spaced; null: all
    dual_optim: DualOptim = field(default_factory=DualOptim)

    def needs(self) -> tuple[Need, ...]:
        return *super().needs(), *self._squares()

    def _squares(self) -> tuple[Need, Need]:
        return Need(SQUARES, Subset.FORGET), Need(SQUARES, Subset.RETAIN, self.retain_samples)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)}

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        forget, retain = (context.scores[need] for need in self._squares())
        yield GradientPhase(
            self.data(context),
            self.loss(context),
            self.recipe,
            trainable_mask(self.selection, self.k, context),
            self.budget,
            forget_every=self.forget_every,
            factors={Subset.FORGET: salient(forget, retain, self.gamma)},
            clips={Subset.FORGET: self.forget_clip},
            forget_optimizer=self.dual_optim.recipe(self.recipe),
        )

    def loss(self, context: Context) -> Loss:
        total = self.recipe.epochs * context.n_retain / (self.recipe.batch_size * self.forget_every)
        calls = count()

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            if Subset.RETAIN in batches:
                return self.task_loss(model, batches, Subset.RETAIN)
            done = min(1.0, next(calls) / total)
            return -self.alpha * (1 + math.cos(math.pi * done)) / 2 * self._weighted_loss(model, batches)

        return loss

    def _weighted_loss(self, model: nn.Module, batches: Batches) -> Tensor:
        batch = batches[Subset.FORGET]
        logits = compute_logits(model, batch.images, running_statistics=True)
        losses = F.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        weights = losses.detach().clamp(min=SMALLEST_LOSS).pow(-self.adaptivity)
        return (weights / weights.sum() * losses).sum()


def salient(forget: Scores, retain: Scores, gamma: float) -> dict[str, Tensor]:
    """Return by parameter 1.0 where the ratio of two mean squares is at least gamma, and 0.0 elsewhere."""
    return {n: ((f + TINY) / (retain[n] + TINY) >= gamma).to(torch.float32) for n, f in forget.items()}
