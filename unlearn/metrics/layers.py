"""Weights and gradients by layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def by_layer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All entries of each layer as one vector, float64 on the CPU, from tensors by parameter name.

    A layer is the module that owns the parameters: its weight and its bias count together (our choice).
    """
    found: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        found.setdefault(name.rpartition(".")[0], []).append(tensor.detach().cpu().double().flatten())
    return {layer: torch.cat(parts) for layer, parts in found.items()}
