"""A phase that treats gradients by subset: two losses a step, or steps that alternate between subsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import fraction, one_of, positive
from unlearn.strategies.base import Loss, Phase


class StepGradients(NamedTuple):
    """The gradients of the two losses of a step, one tensor per parameter; frozen entries are 0."""

    retain: list[Tensor]  # of `Phase.loss`
    forget: list[Tensor]  # of `SecondLoss.loss`
    retain_loss: Tensor  # the value of `Phase.loss`, a scalar


Combine = Callable[[StepGradients], list[Tensor]]


class SecondLoss(NamedTuple):
    """A second loss of every step, and what becomes of the two gradients."""

    loss: Loss
    combine: Combine  # from both gradients to the one that the optimizer gets


@dataclass(frozen=True, kw_only=True)
class GradientPhase(Phase):
    """A phase with one or more of these departures from a single loss; clipping and budgets stay as in `Phase`.

    - `second`: each step has two losses on the same batches. Both gradients are computed, combined, and then clipped.
      With mixed precision they are combined after the scale of the loss is taken out, with several devices after they
      are averaged over them.
    - `forget_every`: a forget step before every n-th retain step, counted from the first step of the phase. `data`
      has the retain set first, and each step has the batch of one subset.
    - `factors`, `clips`, `forget_optimizer`: of steps with the batch of one subset, by that subset. The factors
      multiply its gradient. Unlike `trainable_mask` a factor of 0 does not freeze: momentum and weight decay still
      act. `clips` bounds its norm. `forget_optimizer` takes the forget steps, and its state is kept between them;
      the schedule is that of the phase's own recipe.
    """

    second: SecondLoss | None = None
    forget_every: int | None = None
    factors: Mapping[Subset, Mapping[str, Tensor]] = field(
        default_factory=dict
    )  # by parameter; others stay as they are
    clips: Mapping[Subset, float] = field(default_factory=dict)  # largest norms of the gradient
    forget_optimizer: Recipe | None = None


@dataclass(frozen=True)
class DualOptim:
    """DualOptim (Zhong et al. 2025): the forget steps have an optimizer of their own, whose state is kept between them.

    One optimizer for both mixes the momentum of steps that pull against each other. In the paper Adam forgets, and the
    optimizer of pre-training takes the retain steps [P]. The learning rate follows the schedule of `strategy.recipe`.
    """

    optimizer: str = one_of("none", "adam", "adamw", "sgd")  # of the forget steps; none: that of the recipe
    lr: float = positive(1e-4)  # peak learning rate of the forget steps
    momentum: float = fraction(0.9)  # sgd; the first beta of adam and adamw

    def recipe(self, retain: Recipe) -> Recipe | None:
        """Return the recipe of the forget steps, of which only the optimizer counts; None: they have none."""
        if self.optimizer == "none":
            return None
        return Recipe(
            retain.epochs, retain.batch_size, self.optimizer, self.lr, self.momentum, weight_decay=retain.weight_decay
        )
