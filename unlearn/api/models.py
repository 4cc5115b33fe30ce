"""Bring a user's `nn.Module` into the form that strategies and metrics read, and back."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from unlearn.core.errors import ConfigError, UnlearnError, abbreviate
from unlearn.core.random_streams import stream_seed
from unlearn.models.base import Classifier


def require_module(model: object, argument: str) -> torch.device:
    """Return the device of a module's first parameter.

    Raises:
        ConfigError: it is not a module with parameters.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError([f"{argument}: expected an nn.Module, got a {type(model).__name__}"])
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ConfigError([f"{argument}: expected an nn.Module with parameters, got one without"])
    return parameter.device


def wrap(model: nn.Module, channels: int) -> Classifier:
    """Return a frozen copy in eval mode, as a classifier that does not normalise; a `Classifier` keeps its own.

    Args:
        model: maps images to logits [n, C].
        channels: the number of channels of the images.
    """
    net = copy.deepcopy(model)
    classifier = net if isinstance(net, Classifier) else Classifier(net, (0.0,) * channels, (1.0,) * channels)
    return classifier.to(next(net.parameters()).device).eval().requires_grad_(False)


def unwrap(classifier: Classifier, like: nn.Module) -> nn.Module:
    """Return the net in eval mode, as the user passed it: without our wrapper, with the same trainable parameters."""
    model: nn.Module = classifier if isinstance(like, Classifier) else classifier.net
    for parameter, original in zip(model.parameters(), like.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    return model.eval()


def reinitialise(model: Classifier, seed: int, purpose: str = "init/unlearned") -> Classifier:
    """Return the same architecture with new weights, drawn by each layer's `reset_parameters` in their order.

    Args:
        model: the model, which stays as it is.
        seed: the seed of the run.
        purpose: name of the random stream.

    Raises:
        UnlearnError: a parameter belongs to a layer without `reset_parameters`.
    """
    fresh = copy.deepcopy(model)
    resettable = {name: layer for name, layer in fresh.net.named_modules() if hasattr(layer, "reset_parameters")}
    missing = [
        name
        for name, _ in fresh.net.named_parameters()
        if not any(name.startswith(f"{layer}.") or not layer for layer in resettable)
    ]
    if missing:
        raise UnlearnError(
            "model: expected layers with reset_parameters, which draws new weights, got "
            f"{abbreviate(missing)} without; use a strategy that needs no new weights, such as scrub"
        )
    device = model.mean.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, purpose))
        fresh.cpu()  # so that the draws do not depend on the device
        for layer in resettable.values():
            reset: Any = layer.reset_parameters
            reset()
    return fresh.to(device)
