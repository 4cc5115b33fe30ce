"""How much more a parameter matters to the forgotten than to all: SSD's importances, and its factor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.functional.parameter_scores import GradientStatistic, Need, Scores, complete

IMPORTANCE = GradientStatistic("mean_square")
NEEDS = (Need(IMPORTANCE, Subset.TRAIN), Need(IMPORTANCE, Subset.FORGET))


def importances(model: nn.Module, scores: Mapping[Need, Scores]) -> dict[str, tuple[Tensor, Tensor]]:
    """I(D) and I(D_f) >= 0 of every parameter, float64: mean per-sample squared gradients of the cross-entropy.

    Raises:
        UnlearnError: no output depends on some parameter.
    """
    everyone, forget = (complete(scores[need], model) for need in NEEDS)
    return {name: (everyone[name].double(), forget[name].double()) for name, _ in model.named_parameters()}


def factor(everyone: Tensor, forget: Tensor, dampening: float) -> Tensor:
    """min(dampening * I / I_f, 1), in [0, 1]; 1 where I_f = 0."""
    return torch.where(forget > 0, dampening * everyone / forget, 1.0).clamp(max=1)
