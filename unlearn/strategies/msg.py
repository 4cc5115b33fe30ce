"""MSG: reset the kernels that D_f shaped least differently from D_r, then repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import at_least, fraction
from unlearn.functional.parameter_scores import GradientStatistic, Need, require_complete
from unlearn.functional.top_k import top_k_mask
from unlearn.strategies.base import Batches, Context, Edit, Masks, Phase, task_loss
from unlearn.strategies.gradient_phase import GradientPhase
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.kernels import FORGET_GRADIENT, kernels, require_kernels, reset
from unlearn.strategies.selection import exact_count


@dataclass(frozen=True)
class Msg(Iterative):
    """MSG (second of the NeurIPS 2023 unlearning challenge): reset part of every convolution, then fine-tune on D_r.

    In each kernel the fraction `part` of entries with the smallest |grad CE(D_r) - grad CE(D_f)| becomes freshly
    initialised: entries that serve both sets equally. Then CE(D_r) is minimised, with the gradient of all other kernel
    entries times `kept_factor`, so that the reset entries learn fastest.

    The authors reset 30 %, and fine-tune for 5 epochs of batch 64 by SGD with momentum 0.9, weight decay 5e-4 and a
    rate that rises to 1e-3 and falls again [C]; the default rate is ours. They take n_f random samples of D_r for the
    gradient, here `retain_samples` are evenly spaced [ours].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=5, lr=0.02, schedule="one_cycle", rise=0.5))
    part: float = fraction(0.3)  # of the entries of each kernel, those that are reset
    kept_factor: float = at_least(0, 0.1)  # of the gradient of kernel entries that are not reset
    retain_samples: int | None = at_least(1, 2000)  # samples of D_r for its gradient; null: all

    @property
    def gentler_advice(self) -> str:
        return "lower strategy.part"

    def _retain_gradient(self) -> Need:
        return Need(GradientStatistic("mean_gradient"), Subset.RETAIN, self.retain_samples)

    def needs(self) -> tuple[Need, ...]:
        return FORGET_GRADIENT, self._retain_gradient()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from require_kernels("msg", net)

    def edit(self, model: nn.Module, context: Context) -> Edit:
        forget, retain = (require_complete(context.scores[need], model) for need in self.needs())
        masks: Masks = {
            name: top_k_mask({name: -(retain[name] - forget[name]).abs()}, exact_count(self.part, kernel.numel()))[name]
            for name, kernel in kernels(model).items()
        }
        reset(model, masks, context)
        return Edit(masks, refresh_bn=True)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        factors = {name: torch.where(mask, 1.0, self.kept_factor) for name, mask in edit.masks.items()}
        data = {Subset.RETAIN: context.data[Subset.RETAIN]}
        yield GradientPhase(data, self._loss, self.recipe, budget=self.budget, factors={Subset.RETAIN: factors})

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return task_loss(model, batches, Subset.RETAIN, self.recipe.label_smoothing)
