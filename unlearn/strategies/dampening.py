"""SSD's importances of parameters for the forget set and for all data, and its dampening factor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.functional.parameter_scores import GradientStatistic, Need, Scores, require_complete

IMPORTANCE = GradientStatistic("mean_square")
NEEDS = (Need(IMPORTANCE, Subset.TRAIN), Need(IMPORTANCE, Subset.FORGET))


def compute_importances(model: nn.Module, scores: Mapping[Need, Scores]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return I(D) and I(D_f) of every parameter: mean per-sample squared gradients of the cross-entropy.

    Args:
        model: the net.
        scores: the statistics that `NEEDS` names.

    Returns:
        By parameter name, two float64 tensors >= 0 of its shape: I(D), I(D_f).

    Raises:
        UnlearnError: no output depends on some parameter.
    """
    everyone, forget = (require_complete(scores[need], model) for need in NEEDS)
    return {name: (everyone[name].double(), forget[name].double()) for name, _ in model.named_parameters()}


def dampening_factor(everyone: Tensor, forget: Tensor, dampening: float) -> Tensor:
    """Return min(dampening * I / I_f, 1), in [0, 1]; 1 where I_f = 0."""
    return torch.where(forget > 0, dampening * everyone / forget, 1.0).clamp(max=1)
