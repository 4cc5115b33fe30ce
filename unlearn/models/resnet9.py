"""ResNet-9, the small residual net of the data-attribution literature."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from unlearn.models.base import Model, Scale


@dataclass(frozen=True)
class Resnet9(Model):
    """The ResNet-9 of TRAK (Park et al. 2023) and of KLoM's models, for images of any size.

    Layers: conv 3 x 3, 64; conv 5 x 5, 128, stride 2; residual block of two convs 3 x 3, 128; conv 3 x 3, 256; max-pool
    2; residual block of two convs 3 x 3, 256; conv 3 x 3, 128, unpadded; max-pool over all positions; linear without
    bias, with logits times 0.2. Batch norm and ReLU follow each conv. These are the layers of TRAK's CIFAR-10 example;
    other nets called ResNet-9, such as those of the DAWNBench entries, have other widths and pools.

    [ours] The factor of the logits is applied before the linear layer, so that this layer returns the logits. For
    images below 12 pixels a side the last conv is padded, and a pool that would leave no position is omitted.
    """

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, *sides = shape
        sides = [(side + 1) // 2 for side in sides]  # after the stride
        pool = 2 if min(sides) >= 2 else 1
        sides = [side // pool for side in sides]
        padding = 0 if min(sides) >= 3 else 1
        sides = [side + 2 * padding - 2 for side in sides]
        return nn.Sequential(
            _conv(channels, 64),
            _conv(64, 128, kernel=5, stride=2, padding=2),
            Residual(_conv(128, 128), _conv(128, 128)),
            _conv(128, 256),
            nn.MaxPool2d(pool),
            Residual(_conv(256, 256), _conv(256, 256)),
            _conv(256, 128, padding=padding),
            nn.MaxPool2d((sides[0], sides[1])),  # adaptive pooling is not deterministic
            nn.Flatten(),
            Scale(0.2),
            nn.Linear(128, classes, bias=False),
        )


class Residual(nn.Module):
    """Adds its input to the output of its layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + layers(x)."""
        result: Tensor = x + self.layers(x)
        return result


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
