"""Muon for matrices, SGD for all other weights, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim._muon import muon  # torch.optim.Muon takes matrices alone, and no SGD for the rest
from torch.optim.sgd import sgd


class MuonWithSgd(torch.optim.Optimizer):
    """Takes orthogonalised momentum steps in groups with `muon=True` (Jordan et al. 2024), plain SGD steps in others.

    The weight of a convolution [o, i, h, w] is treated as the matrix [o, i * h * w]. Weight decay is decoupled for
    matrices, as in torch's Muon, and part of the gradient for all other weights, as in torch's SGD.

    Args:
        groups: parameter groups with `lr`, `weight_decay` and `muon`.
        momentum: of both kinds of step, in [0, 1).
        nesterov: look ahead along the momentum, in both kinds of step.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float, nesterov: bool) -> None:
        super().__init__(groups, {"momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            buffers = [self._buffer(p) for p in parameters]
            step = _muon_step if group["muon"] else _sgd_step
            step(parameters, [p.grad for p in parameters], buffers, group)
        return loss

    def _buffer(self, p: Tensor) -> Tensor:
        """The momentum buffer of a parameter: contiguous, so that it can be viewed as a matrix."""
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _muon_step(parameters: list[Tensor], grads: list[Tensor], buffers: list[Tensor], group: dict[str, Any]) -> None:
    matrices = [p.flatten(1) for p in parameters]  # views of contiguous parameters; copies of others
    muon(
        matrices,
        [grad.flatten(1) for grad in grads],
        [buffer.flatten(1) for buffer in buffers],
        has_complex=False,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        nesterov=group["nesterov"],
        ns_coefficients=(3.4445, -4.775, 2.0315),  # torch's defaults
        eps=1e-7,
        ns_steps=5,
        adjust_lr_fn="original",
    )
    for p, matrix in zip(parameters, matrices, strict=True):
        if not p.is_contiguous():
            p.copy_(matrix.view(p.shape))


def _sgd_step(parameters: list[Tensor], grads: list[Tensor], buffers: list[Tensor], group: dict[str, Any]) -> None:
    sgd(
        parameters,
        grads,
        list(buffers),
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        dampening=0,
        nesterov=group["nesterov"],
        maximize=False,
    )
