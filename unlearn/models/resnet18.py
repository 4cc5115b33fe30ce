"""ResNet-18, with the stem that small images need."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unlearn.models.base import Model


@dataclass(frozen=True)
class Resnet18(Model):
    """torchvision's ResNet-18 (He et al. 2016); up to 64 pixels with a 3 x 3 stem without pooling, as for CIFAR."""

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torchvision.models import resnet18

        channels, height, width = shape
        net = resnet18(weights=None, num_classes=classes)
        small = max(height, width) <= 64
        kernel, stride = (3, 1) if small else (7, 2)
        net.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        if small:
            net.maxpool = nn.Identity()
        result: nn.Module = net
        return result
