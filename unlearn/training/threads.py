"""The number of CPU threads for a net."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

MAX_THREADS = 256  # torch segfaults at some tens of thousands
LARGE_NET_THREADS = 8  # more threads gain less than they take from other processes (our choice)
SMALL_NET_PARAMETERS = 10**6  # at most 4 MB of float32
LARGE_NET = 1e7  # multiply-adds of one image (our choice): the MNIST CNN has 1e6, ResNet-18 for CIFAR 6e8


def threads_for(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Choose the number of threads: 1 for a small net, whose threads would only wait for each other, else 8.

    The number depends only on the net: it affects how sums are rounded, so neither the machine nor a timing may
    determine it.

    Args:
        net: the net; one that raises on an empty image gets 1 thread.
        shape: channels, height and width of an image.
    """
    return LARGE_NET_THREADS if multiply_adds(net, shape) >= LARGE_NET else 1


def multiply_adds(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Count the multiply-adds of the linear and convolutional layers for one image; 0 if the net raises on it.

    Args:
        net: the net. On the meta device nothing is computed; but a small net is run on the CPU without initial
            weights, because torch's first convolution on the meta device imports its compiler, which takes seconds.
        shape: channels, height and width of an image.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        weight: Any = layer.weight
        counts.append(output.numel() * weight[0].numel())

    size = sum(p.numel() for p in net.parameters())
    if size <= SMALL_NET_PARAMETERS and any(p.is_meta for p in net.parameters()):
        net = copy.deepcopy(net).to_empty(device="cpu")
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    device = next((parameter.device for parameter in net.parameters()), torch.device("meta"))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            net.eval()(torch.zeros(1, *shape, device=device))
    except Exception:  # a user's net may raise anything
        return 0
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
