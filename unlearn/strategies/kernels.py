"""Shared parts of strategies that reset weights, above all kernels of convolutions, and then repair the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.types import Subset
from unlearn.functional.parameter_scores import GradientStatistic, Need
from unlearn.strategies.base import Context, Masks

FORGET_GRADIENT = Need(GradientStatistic("mean_gradient"), Subset.FORGET)


def kernels(model: nn.Module) -> dict[str, Tensor]:
    """Return the kernels [out, in, h, w] of convolutions by parameter name; a fixed one, a buffer, is left out."""
    parameters = dict(model.named_parameters())
    names = [f"{n}.weight".removeprefix(".") for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    return {name: parameters[name] for name in names if name in parameters}


def require_kernels(strategy: str, net: Callable[[], nn.Module]) -> Iterator[Problem]:
    """Yield a problem for a net without a convolution that can be trained."""
    if not kernels(net()):
        yield Problem("strategy", f"another than {strategy} for a net without a trained nn.Conv2d", strategy)


@torch.no_grad()
def reset(model: nn.Module, masks: Masks, context: Context) -> None:
    """Set the entries under masks to those of a freshly initialised model; all other bits stay as they are."""
    fresh, parameters = dict(context.fresh_model().named_parameters()), dict(model.named_parameters())
    for name, mask in masks.items():
        torch.where(mask, fresh[name].to(parameters[name]), parameters[name], out=parameters[name])
