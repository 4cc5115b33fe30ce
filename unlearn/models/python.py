"""A user-supplied architecture: a Python function that builds a net."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn

from unlearn.core.errors import ConfigError, Problem, UnlearnError
from unlearn.core.user_code import argument_problems, error_location, load_function, source_hash
from unlearn.models.base import Model, check_forward

CONTRACT = "a function (shape, classes, **model.arguments) that returns a net"


@dataclass(frozen=True)
class PythonModel(Model):
    """`function(shape, classes, **arguments)` returns an `nn.Module` from normalised pixels to logits [n, classes].

    `shape` is (c, h, w). Weights should be drawn from torch's global generator, which is seeded for each model. The
    key holds a hash of the source of the function's module and of the local modules it imports. After a change of
    other packages, or of a file that the function reads, use another store.
    """

    factory: str = ""  # package.module:function, installed or in the current directory
    arguments: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the function

    def problems(self, key: str) -> Iterator[Problem | str]:
        """Report a function that cannot be imported, and arguments that a key cannot hold."""
        yield from argument_problems(self.arguments, f"{key}.arguments")
        try:
            load_function(self.factory, f"{key}.factory")
        except ConfigError as error:
            yield from error.problems

    def identity(self) -> dict[str, Any]:
        """The hash of the function's source, for the key."""
        return {"source": source_hash(self.factory, "model.factory")}

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        build = load_function(self.factory, "model.factory")
        with torch.device("cpu"):  # a user-supplied net need not support the meta device
            net = build(shape, classes, **self.arguments)
        if not isinstance(net, nn.Module):
            raise TypeError(f"expected an nn.Module, got a {type(net).__name__}")
        return net

    def check(self, shape: tuple[int, int, int], classes: int, features: bool) -> Iterator[Problem | str]:
        """Report a function that raises, or does not return a net for such images."""
        reason = _find_mismatch(self.factory, json.dumps(self.arguments), shape, classes, features)
        if reason:
            yield Problem(
                "model.factory", f"{CONTRACT} for images of {' x '.join(map(str, shape))} ({reason})", self.factory
            )


@cache
def _find_mismatch(
    factory: str, arguments: str, shape: tuple[int, int, int], classes: int, features: bool
) -> str | None:
    """Why the net cannot be used, or None; cached for all cells of a sweep; leaves torch's generator as it is."""
    try:
        with torch.random.fork_rng(devices=[]):
            net = PythonModel(factory, json.loads(arguments)).net(shape, classes)
            if not any(p.requires_grad for p in net.parameters()):
                return "it has no parameters to train"
            if not all(isinstance(item, torch.Tensor) for item in net.state_dict().values()):
                return "its state dict holds values that are not tensors"
            if any(nn.parameter.is_lazy(p) for p in net.parameters()):
                return "its lazy layers have no weights before the first batch: give their sizes"
            check_forward(net, shape, classes, features)
    except UnlearnError as error:
        return str(error)
    except Exception as error:  # a user's net may raise anything
        return error_location(error)
    return None
