"""How many CPU threads a net is worth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOST_THREADS = 256  # torch segfaults at some tens of thousands
MANY = 8  # of a net that is worth more than one (our choice): further ones add less than they take from others
PAYS = 1e7  # multiply-adds of one image (our choice): the MNIST CNN has 1e6, ResNet-18 for CIFAR 6e8


def threads_for(net: nn.Module, shape: tuple[int, ...]) -> int:
    """1 for a small net, whose threads would only wait for each other, else 8.

    A rule of the net alone: sums round by the number of threads, so neither the machine nor a timing may choose it.
    A net that cannot be run on one empty image of `shape` (channels, height, width) gets 1.
    """
    return MANY if multiply_adds(net, shape) >= PAYS else 1


def multiply_adds(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of the linear and convolutional layers for one image of `shape`; 0 where the net fails on it.

    A net on the `meta` device is not computed.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        weight: Any = layer.weight
        counts.append(output.numel() * weight[0].numel())

    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    device = next((parameter.device for parameter in net.parameters()), torch.device("meta"))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            net.eval()(torch.zeros(1, *shape, device=device))
    except Exception:  # a net of one's own may fail in any way
        return 0
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
