"""Base class of architectures, and the classifier that adds normalisation to a net."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem, UnlearnError


@dataclass(frozen=True)
class Model(ABC):
    """An architecture; `net` builds a net for images [c, h, w] and a number of classes."""

    @abstractmethod
    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Build a freshly initialised net that maps normalised pixels float32 [n, c, h, w] to logits [n, classes].

        Args:
            shape: channels, height and width of an image.
            classes: the number of classes.
        """

    def load_published(self, net: nn.Module) -> None:
        """Load the published weights that training starts from into a fresh net; most models have none."""
        del net

    def initialise_from_data(self, net: nn.Module, batches: Iterable[Tensor]) -> None:
        """Initialise those parts of a fresh net that depend on its training images; most nets have none.

        It may change buffers and parameters, and draws no random numbers.

        Args:
            net: a net of this architecture, on any device.
            batches: some of the training images, normalised as for the net, float32 [b, c, h, w], on the device of
                `net`. They are read only if they are iterated over.
        """
        del net, batches

    def copy_data_dependent(self, net: nn.Module, source: nn.Module) -> None:
        """Copy the buffers that `initialise_from_data` sets from `source` to a fresh `net`."""
        del net, source

    def check(self, shape: tuple[int, int, int], classes: int, features: bool) -> Iterator[Problem | str]:
        """Report why the architecture does not suit the data; called before anything is trained.

        Args:
            shape: channels, height and width of an image.
            classes: the number of classes.
            features: whether the run needs the net's penultimate features.
        """
        del shape, classes, features
        yield from ()


class Classifier(nn.Module):
    """Maps pixels in [0, 1] to logits: normalises, then applies a net, so that attacks work on pixels.

    Args:
        net: maps normalised images to logits.
        mean: the mean of each channel.
        std: the standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [n, C] of images [n, c, h, w] in [0, 1]."""
        logits: Tensor = self.net(self.normalise(images))
        return logits

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images [n, c, h, w] in [0, 1] for the net."""
        return (images - self.mean).div_(self.std)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute penultimate features [n, d] and logits [n, C].

        Features are the input of the last linear layer or convolution with C outputs; the input of a convolution is
        averaged over the image (our choice).

        Raises:
            UnlearnError: the net has no such layer.
        """
        last: dict[int, tuple[nn.Module, Tensor]] = {}  # by number of outputs: the last layer that ran, and its input

        def record(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            last[output_count(layer)] = (layer, inputs[0])

        hooks = [layer.register_forward_hook(record) for layer in self.net.modules() if output_count(layer)]
        try:
            logits = self(images)
        finally:
            for hook in hooks:
                hook.remove()
        if logits.shape[1] not in last:
            raise UnlearnError(
                f"model: expected an nn.Linear or nn.Conv2d with {logits.shape[1]} outputs as its last layer (SPD-GAN "
                "and retain=condensed use its input as features), got a net without; use another model, or "
                "spd_gan=noise or spd_gan=off with retain=full"
            )
        head, head_input = last[logits.shape[1]]
        return (head_input.mean((2, 3)) if isinstance(head, nn.Conv2d) else head_input.flatten(1)), logits


class Scale(nn.Module):
    """Multiplies its input by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the factor."""
        return x * self.factor


def output_count(layer: nn.Module) -> int:
    """Number of outputs of a linear layer or a convolution; 0 for all other layers."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else 0


@torch.no_grad()
def check_forward(net: nn.Module, shape: tuple[int, int, int], classes: int, features: bool) -> None:
    """Pass two images through a net in train mode, as training does; on the meta device this costs almost nothing.

    Args:
        net: the net to check.
        shape: channels, height and width of an image.
        classes: the number of classes.
        features: also check that the net has penultimate features.

    Raises:
        ValueError: the output is not a tensor [2, classes].
        UnlearnError: `features` are needed, and the net has none.
        Exception: the net itself raises it.
    """
    device = next(net.parameters()).device
    classifier = Classifier(net, (0.5,) * shape[0], (0.5,) * shape[0]).to(device).train()
    images = torch.zeros(2, *shape, device=device)
    logits = classifier(images)
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        got = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"expected logits of shape [n, {classes}] for n = 2 images, got {got}")
    if features:
        classifier.features(images)
