"""Compute the gradients of two losses and set the combination of both as the gradient of a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn

from unlearn.strategies.gradient_phase import Combine, StepGradients
from unlearn.training.frozen import Frozen
from unlearn.training.precision import CountingScaler
from unlearn.training.ranks import world_size


def set_combined_gradients(
    parameters: Sequence[nn.Parameter],
    losses: tuple[Tensor, Tensor],
    combine: Combine,
    frozen: Frozen | None = None,
    scaler: CountingScaler | None = None,
) -> None:
    """Set each parameter's gradient to the combination of the gradients of two losses.

    A combination need not be linear, so it gets gradients without the scale of float16, averaged over all processes.
    The result has the scale again, and is not finite if one of the gradients is not: then the step is skipped.

    Args:
        parameters: of the model; those that a loss does not depend on have a gradient of 0.
        losses: the retain and the forget loss, scalars without the scale.
        combine: the combination.
        frozen: entries whose gradients are 0; None: none.
        scaler: of float16; None: the losses are not scaled.
    """
    scale = None if scaler is None else scaler.scale(torch.ones((), device=losses[0].device))
    retain, forget = (_gradients(loss, parameters, scale) for loss in losses)
    if frozen is not None:
        frozen.mask(retain)
        frozen.mask(forget)
    combined = combine(StepGradients(retain, forget, _mean_over_processes(losses[0].detach())))
    if scale is not None:  # a combination may drop the gradient that is not finite
        scale = scale + 0 * torch.stack([gradient.sum() for gradient in (*retain, *forget)]).sum()
    for p, gradient in zip(parameters, combined, strict=True):
        p.grad = gradient if scale is None else gradient * scale


def _gradients(loss: Tensor, parameters: Sequence[nn.Parameter], scale: Tensor | None) -> list[Tensor]:
    """Return the gradient of a loss by parameter, computed under the scale, as the mean over all processes."""
    scaled = loss if scale is None else loss * scale
    gradients = torch.autograd.grad(scaled, parameters, allow_unused=True, materialize_grads=True)
    return [_mean_over_processes(gradient if scale is None else gradient / scale) for gradient in gradients]


def _mean_over_processes(tensor: Tensor) -> Tensor:
    if world_size() == 1:
        return tensor
    distributed.all_reduce(tensor)
    return tensor / world_size()
