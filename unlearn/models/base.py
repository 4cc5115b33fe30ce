"""What every classifier here has in common: normalisation as its first layer, a linear head as its last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Model(ABC):
    """An architecture; `net` gives a fresh one for images [c, h, w] and a number of classes."""

    @abstractmethod
    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Normalised pixels float32 [n, c, h, w] to logits [n, classes], freshly initialised.

        The penultimate features are the input of its last `nn.Linear`.
        """


class Classifier(nn.Module):
    """Pixels in [0, 1] to logits: normalisation stands in front of the net, so attacks work on pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, C] of images [n, c, h, w] in [0, 1]."""
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate features [n, d], the input of the last linear layer, and logits [n, C]."""
        head = [module for module in self.net.modules() if isinstance(module, nn.Linear)][-1]
        seen: list[Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self(images)
        finally:
            handle.remove()
        return seen[-1].flatten(1), logits
