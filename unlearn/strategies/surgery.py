"""Gradient surgery: combine the gradients of a forget and a retain loss so that neither undoes the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least, one_of, positive
from unlearn.strategies.ascent import bounded_loss
from unlearn.strategies.base import Batches, Context, Edit, Loss, Phase, compute_logits
from unlearn.strategies.gradient_phase import Combine, GradientPhase, SecondLoss, StepGradients
from unlearn.strategies.iterative import Objective
from unlearn.strategies.memory_gate import import_gate, make_gate
from unlearn.strategies.relabelling import relabelled_data
from unlearn.strategies.selection import trainable_mask

TINY = 1e-12  # added to squared norms that are divided by
XI = 1e-3  # nash: keeps the weights finite where the gradients are opposite [ours]


@dataclass(frozen=True)
class Surgery(Objective):
    """Gradient surgery: each step combines g_r, the gradient of CE(D_r), and g_f, that of a forget loss.

    `combine` is how:

    - `rectify` (GDR-GMA 2024): if <g_r, g_f> < 0, each is projected off the other; then (1 - w) g_r + w g_f with
      w = 1 / (1 + exp(100 (CE(D_r) - 0.02))): the forget gradient acts once the retain set fits [C].
    - `nash` (MUNBa 2025): g = a_r g_r + a_f g_f with a_i = sqrt((1 - cos phi) / sin^2 phi) / ||g_i||, the Nash
      bargaining solution of both. The ratio equals 1 / (1 + cos phi), which is defined for parallel gradients too; xi
      is added to that denominator [ours]. The length of g does not depend on those of g_r and g_f.
    - `ungrad` (EUPMU): g = g_f + max(0, (-<g_r, g_f> - margin) / ||g_r||^2) g_r, the step nearest to g_f that does not
      raise the retain loss [C]. Nothing is repaired: it needs a rate far below the default.

    `forget_loss` is cross-entropy on wrong labels, -CE bounded by ln C as in `gradient_ascent`, or minus the entropy of
    the outputs. The memory gate multiplies it [ours], and so g_f. The defaults were chosen on digits (seed 100), a
    class and mislabelled images [ours].

    Each step has two backward passes. Forget batches pass batch normalisation by its running statistics [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
    combine: str = one_of("rectify", "nash", "ungrad")  # of both gradients
    forget_loss: str = one_of("ascent", "random_label", "entropy")  # whose gradient g_f is
    forget_while: str = one_of("remembered", "always")  # when g_f acts: times the memory gate, or 1
    forget_weight: float = positive(1.0)  # of the forget loss
    margin: float = at_least(0, 0.0)  # ungrad

    def prepare(self) -> None:
        import_gate(self.forget_while)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        if self.forget_loss == "random_label":
            return relabelled_data(context)
        return {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)}

    def loss(self, context: Context) -> Loss:
        del context
        return lambda model, batches, _: self.task_loss(model, batches, Subset.RETAIN)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        yield GradientPhase(
            self.data(context),
            self.loss(context),
            self.recipe,
            trainable_mask(self.selection, self.k, context),
            self.budget,
            second=SecondLoss(self._gated_loss(context), self._combination()),
        )

    def _gated_loss(self, context: Context) -> Loss:
        opening = make_gate(context, self.forget_while, self.recipe.batch_size)

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            return self.forget_weight * opening(model) * self._forget_loss(model, batches)

        return loss

    def _forget_loss(self, model: nn.Module, batches: Batches) -> Tensor:
        if self.forget_loss == "ascent":
            return -bounded_loss(model, batches, None, self.recipe.label_smoothing)
        if self.forget_loss == "random_label":
            return self.task_loss(model, batches, Subset.FORGET, running_statistics=True)
        batch = batches[Subset.FORGET]
        log_p = compute_logits(model, batch.images, running_statistics=True).float().log_softmax(1)
        return batch.mean((log_p.exp() * log_p).sum(1))

    def _combination(self) -> Combine:
        combinations: dict[str, Combine] = {
            "ungrad": lambda gradients: ungrad(gradients, self.margin),
            "nash": nash,
            "rectify": rectify,
        }
        return combinations[self.combine]


def dot(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Return the inner product of two gradients, a scalar."""
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


def weighted_sum(gradients: StepGradients, retain: Tensor | float, forget: Tensor | float) -> list[Tensor]:
    """Return `retain` g_r + `forget` g_f."""
    return [retain * r + forget * f for r, f in zip(gradients.retain, gradients.forget, strict=True)]


def ungrad(gradients: StepGradients, margin: float = 0.0) -> list[Tensor]:
    """Return the gradient nearest to g_f with an inner product with g_r of at least -margin."""
    inner = dot(gradients.retain, gradients.forget)
    weight = (-inner - margin).clamp(min=0) / (dot(gradients.retain, gradients.retain) + TINY)
    return weighted_sum(gradients, weight, 1.0)


def nash(gradients: StepGradients) -> list[Tensor]:
    """Return the Nash bargaining solution a_r g_r + a_f g_f; a gradient of 0 leaves the other as it is."""
    r, f = (dot(g, g).sqrt() for g in (gradients.retain, gradients.forget))
    cosine = dot(gradients.retain, gradients.forget) / (r * f + TINY)
    common = (1 + cosine + XI).clamp(min=XI).rsqrt()
    is_single = (r == 0) | (f == 0)
    return weighted_sum(
        gradients, torch.where(is_single, 1.0, common / (r + TINY)), torch.where(is_single, 1.0, common / (f + TINY))
    )


def rectify(gradients: StepGradients) -> list[Tensor]:
    """Return the mix of both gradients, each without its part against the other."""
    inner = dot(gradients.retain, gradients.forget).clamp(max=0)
    r, f = (dot(g, g) + TINY for g in (gradients.retain, gradients.forget))
    weight = torch.sigmoid(-100 * (gradients.retain_loss - 0.02))
    # (1 - w) (g_r - <g_r, g_f> / ||g_f||^2 g_f) + w (g_f - <g_r, g_f> / ||g_r||^2 g_r)
    return weighted_sum(gradients, 1 - weight - weight * inner / r, weight - (1 - weight) * inner / f)
