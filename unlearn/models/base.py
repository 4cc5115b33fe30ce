"""What every classifier here has in common: normalisation as its first layer, a layer with an output per class last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem, UnlearnError


@dataclass(frozen=True)
class Model(ABC):
    """An architecture; `net` gives a fresh one for images [c, h, w] and a number of classes."""

    @abstractmethod
    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Normalised pixels float32 [n, c, h, w] to logits [n, classes], freshly initialised.

        Its penultimate features are found by `Classifier.features`.
        """

    def load_published(self, net: nn.Module) -> None:
        """Give a fresh net the published weights that training shall start from, if there are any."""
        del net

    def initialise_from_data(self, net: nn.Module, batches: Iterable[Tensor]) -> None:
        """Set what a fresh net takes from the images that it is about to be trained on; most nets take nothing.

        It may change buffers and parameters, and draws nothing.

        Args:
            net: a net of this architecture, on any device.
            batches: some of the training images, normalised as the net gets them, float32 [b, c, h, w], on the
                device of `net`. They are read only where they are iterated over.
        """
        del net, batches

    def copy_data_dependent(self, net: nn.Module, source: nn.Module) -> None:
        """Give a fresh `net` the buffers that `initialise_from_data` has set in `source`."""
        del net, source

    def check(self, shape: tuple[int, int, int], classes: int, features: bool) -> Iterator[Problem | str]:
        """Problems with such images, and with `features` where they are needed; asked before anything is trained."""
        del shape, classes, features
        yield from ()


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
        logits: Tensor = self.net(self.normalise(images))
        return logits

    def normalise(self, images: Tensor) -> Tensor:
        """The net's input for images [n, c, h, w] in [0, 1]."""
        return (images - self.mean).div_(self.std)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate features [n, d] and logits [n, C].

        They are the input of the last linear layer or convolution that has C outputs; a convolution's is averaged
        over the image (our choice).

        Raises:
            UnlearnError: the net has no such layer.
        """
        seen: dict[int, tuple[nn.Module, Tensor]] = {}  # by number of outputs: the last layer that ran, and its input

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            seen[output_count(layer)] = (layer, inputs[0])

        hooks = [layer.register_forward_hook(note) for layer in self.net.modules() if output_count(layer)]
        try:
            logits = self(images)
        finally:
            for hook in hooks:
                hook.remove()
        if logits.shape[1] not in seen:
            raise UnlearnError(
                f"model: expected an nn.Linear or nn.Conv2d with {logits.shape[1]} outputs as its last layer, whose "
                "input SPD-GAN and retain=condensed take as features, came a net without; use another model, or "
                "spd_gan=noise or spd_gan=off with retain=full"
            )
        head, taken = seen[logits.shape[1]]
        return (taken.mean((2, 3)) if isinstance(head, nn.Conv2d) else taken.flatten(1)), logits


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * self.factor


def output_count(layer: nn.Module) -> int:
    """Outputs of a linear layer or a convolution; 0 for all others."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else 0


@torch.no_grad()
def check_forward(net: nn.Module, shape: tuple[int, int, int], classes: int, features: bool) -> None:
    """Pass two images through a net in train mode, as training will; on the meta device this costs next to nothing.

    Raises:
        ValueError: what comes out is not [2, classes].
        UnlearnError: `features` are needed, and it has none.
        Exception: whatever the net raises.
    """
    device = next(net.parameters()).device
    classifier = Classifier(net, (0.5,) * shape[0], (0.5,) * shape[0]).to(device).train()
    images = torch.zeros(2, *shape, device=device)
    logits = classifier(images)
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        came = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"logits of shape [n, {classes}] expected for n = 2 images, came {came}")
    if features:
        classifier.features(images)
