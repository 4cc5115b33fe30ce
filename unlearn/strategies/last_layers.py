"""Train only the last k layers, on the retain set."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import NORMS
from unlearn.core.types import Subset
from unlearn.core.validation import at_least
from unlearn.strategies.base import Batches, Context, Edit, Masks, Phase, task_loss
from unlearn.strategies.iterative import Iterative


@dataclass(frozen=True, kw_only=True)
class LastLayers(Iterative, ABC):
    """Minimises CE(D_r) over the last `k` layers; all earlier layers end bit-identical.

    A layer is a module with a weight of two or more dimensions. Normalisation counts with the layer before it, and the
    order is that in which the net registers its modules. The default of two layers is ours: the classifier and the
    layer that computes its features, since the classifier alone can only re-weight features that were trained on D_f.
    """

    k: int = at_least(1, 2)  # number of layers to train

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        layers = len(_layers(list(net().modules())))
        if self.k > layers:
            yield Problem("strategy.k", f"at most the {layers} layers of the net", self.k)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        original = context.original
        trained = {id(p) for m in last_modules(original, self.k).values() for p in m.parameters(recurse=False)}
        masks: Masks = {
            name: torch.full_like(p, id(p) in trained, dtype=torch.bool) for name, p in original.named_parameters()
        }
        yield Phase({Subset.RETAIN: context.data[Subset.RETAIN]}, self._loss, self.recipe, masks, self.budget)

    def _loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return task_loss(model, batches, Subset.RETAIN, self.recipe.label_smoothing)


def last_modules(model: nn.Module, k: int) -> dict[str, nn.Module]:
    """Return the k-th last layer and all modules after it, by name.

    Of a returned module only its direct parameters and buffers count, not those of its children.

    Raises:
        ValueError: the net has fewer than `k` layers.
    """
    modules = dict(model.named_modules())
    layers = _layers(list(modules.values()))
    if k > len(layers):
        raise ValueError(f"k: expected at most {len(layers)} layers, got {k}")
    return dict(list(modules.items())[layers[-k] :])


def _layers(modules: list[nn.Module]) -> list[int]:
    """Return the positions of the modules that are layers."""
    return [
        position
        for position, module in enumerate(modules)
        if not isinstance(module, NORMS)  # their weights may have two or more dimensions
        and any("weight" in name and p.dim() >= 2 for name, p in module.named_parameters(recurse=False))
    ]
