"""CT: transpose every kernel, then repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.strategies.base import Batches, Context, Edit, Masks, Phase, task_loss
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.kernels import kernels, require_kernels


@dataclass(frozen=True)
class Ct(Iterative):
    """CT (fifth of the NeurIPS 2023 unlearning challenge): transpose every kernel, then fine-tune on D_r.

    The two spatial axes of every square kernel of a convolution change places, which keeps each layer's distribution of
    weights and destroys what they detect together. Then CE(D_r) is minimised. The authors fine-tune for 3 epochs with
    a cosine schedule [C]; the default length and rate are ours. No forget set is read.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=3, lr=0.02, schedule="cosine"))

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from require_kernels("ct", net)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        del context
        masks: Masks = {}
        for name, kernel in kernels(model).items():
            if kernel.shape[2] == kernel.shape[3]:
                masks[name] = torch.ones_like(kernel, dtype=torch.bool)
                kernel.copy_(kernel.transpose(2, 3).clone())
        return Edit(masks, refresh_bn=True)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        yield Phase({Subset.RETAIN: context.data[Subset.RETAIN]}, self._loss, self.recipe, budget=self.budget)

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return task_loss(model, batches, Subset.RETAIN, self.recipe.label_smoothing)
