"""Any classification model of torchvision, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.core.errors import DataError, Problem, UnlearnError, first_line, nearest
from unlearn.models.base import Model, check_forward, output_count

PUBLISHED_CLASSES = 1000  # the classes of ImageNet, which all published classification weights have


@dataclass(frozen=True)
class Torchvision(Model):
    """A classification model of torchvision, by a name from `torchvision.models.list_models()`.

    The head has one output per class; with `weights`, all other layers start from published weights. Where images do
    not have 3 channels, the first convolution is replaced: published weights are summed over the input channels and
    distributed evenly, which for grey images equals repeating the channel three times. Auxiliary classifiers are left
    out. Pixels are normalised by the data set's own statistics, also with published weights (our choice). The stem is
    the published one: for small images see `model=resnet18`.
    """

    name: str = "resnet18"  # one of `torchvision.models.list_models()`
    weights: str | None = None  # DEFAULT, or the name of published weights of the model; null: random weights

    def problems(self, key: str) -> Iterator[Problem]:
        """Report names of models and weights that torchvision does not have."""
        from torchvision import models

        names = models.list_models(module=models)
        if self.name not in names:
            yield Problem(f"{key}.name", f"a classification model of torchvision{nearest(self.name, names)}", self.name)
            return
        weights = models.get_model_weights(self.name).__members__  # including DEFAULT
        if self.weights is not None and self.weights not in weights:
            yield Problem(f"{key}.weights", f"one of {', '.join(weights)}, or null", self.weights)

    def identity(self) -> dict[str, Any]:
        """The file name of the weights, which ends in a hash of their content, for the key."""
        return {} if self.weights is None else {"weights": self._weights().url.rpartition("/")[2]}

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        from torchvision.models import get_model

        arguments = {"weights": None, "num_classes": classes, **self._arguments(shape)}
        try:
            net: nn.Module = get_model(self.name, **arguments)
        except NotImplementedError:  # on the meta device: a RegNet computes its widths with tensors
            with torch.device("cpu"):
                net = get_model(self.name, **arguments).to("meta")
        if shape[0] != 3:
            _replace_stem(net, shape[0])
        return net

    def load_published(self, net: nn.Module) -> None:
        """Load all published weights except those of the head, which stays as it is.

        Raises:
            DataError: the download failed, or the downloaded file is damaged.
        """
        if self.weights is None:
            return
        published = self._published()
        published_state, state = published.state_dict(), net.state_dict()
        head = [name for name, layer in published.named_modules() if output_count(layer) == PUBLISHED_CLASSES][-1]
        state.update({name: published_state[name] for name in state if not name.startswith(f"{head}.")})
        stem, layer = _stem(net)
        state[f"{stem}.weight"] = _distribute_channels(published_state[f"{stem}.weight"], layer.in_channels)
        net.load_state_dict(state)

    def check(self, shape: tuple[int, int, int], classes: int, features: bool) -> Iterator[Problem | str]:
        """Report images that are too small for the net, or of a size that it cannot divide."""
        reason = _find_mismatch(self, shape, classes, features)
        if reason:
            yield Problem(
                "model.name", f"an architecture for images of {' x '.join(map(str, shape))} ({reason})", self.name
            )

    def _arguments(self, shape: tuple[int, int, int]) -> dict[str, Any]:
        """Additional arguments that torchvision's functions need for some models."""
        if self.name in ("googlenet", "inception_v3"):
            return {"aux_logits": False, "init_weights": True}
        if self.name.startswith("vit_"):  # the published position embeddings fix the size
            return {"image_size": self._weights().meta["min_size"][0] if self.weights else shape[1]}
        return {"input_size": shape[1:]} if self.name.startswith("maxvit") else {}

    def _weights(self) -> Any:
        from torchvision.models import get_model_weights

        return get_model_weights(self.name)[self.weights]

    def _published(self) -> nn.Module:
        from torchvision.models import get_model

        weights = self._weights()
        try:
            with torch.random.fork_rng(devices=[]):  # draws of weights that are overwritten must not shift later draws
                net: nn.Module = get_model(self.name, weights=weights, progress=False)
        except Exception as error:  # a download, or a damaged file, may raise anything
            raise DataError(
                f"model.weights: expected to download {self.weights} of {self.name} once, got {first_line(error)}; "
                f"without a network, put the file of {weights.url} into {torch.hub.get_dir()}/checkpoints"
            ) from error
        return net


@cache
def _find_mismatch(model: Torchvision, shape: tuple[int, int, int], classes: int, features: bool) -> str | None:
    """Why such images cannot pass, or None; cached for all cells of a sweep."""
    try:
        with torch.device("meta"):
            check_forward(model.net(shape, classes), shape, classes, features)
    except (RuntimeError, ValueError, AssertionError, UnlearnError) as error:
        return first_line(error)
    return None


def _stem(net: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d))


def _replace_stem(net: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for another number of channels, with PyTorch's default initialisation."""
    name, old = _stem(net)
    parent, _, attribute = name.rpartition(".")
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    setattr(net.get_submodule(parent), attribute, new)


def _distribute_channels(weight: Tensor, channels: int) -> Tensor:
    """Turn a convolution's weight [o, 3, k, k] into [o, channels, k, k] with the same sum over the input channels."""
    if channels == weight.shape[1]:
        return weight
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
