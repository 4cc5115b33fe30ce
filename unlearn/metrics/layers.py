"""Group weights or gradients by layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def by_layer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Concatenate the tensors of each layer.

    A layer is the module that owns the parameters: its weight and its bias count together [ours].

    Args:
        tensors: by parameter name.

    Returns:
        By layer name, all entries as one vector, float64 on the CPU.
    """
    layers: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        layers.setdefault(name.rpartition(".")[0], []).append(tensor.detach().cpu().double().flatten())
    return {layer: torch.cat(parts) for layer, parts in layers.items()}
