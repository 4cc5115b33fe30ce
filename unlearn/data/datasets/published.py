"""Published data sets, read and downloaded by torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.checks import at_least
from unlearn.data.datasets.base import Dataset
from unlearn.errors import DataError, first_line


@dataclass(frozen=True)
class Published(Dataset):
    """A data set that torchvision knows by name."""

    torchvision_name: ClassVar[str]

    def read(self) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        return self._part(train=True), self._part(train=False)

    def _part(self, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        from torchvision import datasets

        kind = getattr(datasets, self.torchvision_name)
        try:
            part = kind(root=self.root, train=train, download=self.download)
        except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:  # all that torchvision raises
            raise DataError(
                f"dataset.root: expected {self.torchvision_name} under {self.root!r}, came nothing readable "
                f"({first_line(error)}): {'' if self.download else 'set dataset.download=true, or '}point dataset.root "
                f"to the folder that torchvision.datasets.{self.torchvision_name} would fill"
            ) from error
        return _bytes(part.data), torch.as_tensor(part.targets, dtype=torch.int64)


def _bytes(images: Any) -> torch.Tensor:
    """uint8 [n, c, h, w] from torchvision's grey [n, h, w] or colour [n, h, w, c]."""
    pixels = torch.as_tensor(images)
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Mnist(Published):
    """60,000 + 10,000 grey 28 x 28 handwritten digits (LeCun et al. 1998)."""

    torchvision_name = "MNIST"
    shape = (1, 28, 28)
    classes = 10
    mean = (0.1307,)
    std = (0.3081,)
    train_size = 60_000


@dataclass(frozen=True)
class FashionMnist(Published):
    """60,000 + 10,000 grey 28 x 28 images of clothes (Xiao et al. 2017)."""

    torchvision_name = "FashionMNIST"
    shape = (1, 28, 28)
    classes = 10
    mean = (0.2860,)
    std = (0.3530,)
    train_size = 60_000


@dataclass(frozen=True)
class Cifar10(Published):
    """50,000 + 10,000 colour 32 x 32 photographs (Krizhevsky 2009), cropped and mirrored while training."""

    torchvision_name = "CIFAR10"
    shape = (3, 32, 32)
    classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    train_size = 50_000

    crop_padding: int = at_least(0, 4)
    flip: bool = True
