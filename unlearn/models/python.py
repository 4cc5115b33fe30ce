"""An architecture of one's own: a Python function that builds it."""

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

CONTRACT = "a function (shape, classes, **model.arguments) that gives a net"


@dataclass(frozen=True)
class Python(Model):
    """`function(shape, classes, **arguments)` gives an `nn.Module`, normalised pixels to logits [n, classes].

    `shape` is (c, h, w). Weights should be drawn from torch's global generator, which is seeded for each model.
    The key holds a hash of the function's source and of what it imports from beside it; after a change of other
    packages, or of a file that it reads, use another store.
    """

    factory: str = ""  # package.module:function, installed or in the current directory
    arguments: dict[str, Any] = field(default_factory=dict)

    def problems(self, key: str) -> Iterator[Problem | str]:
        """A function that is there, and arguments that a key can hold."""
        yield from argument_problems(self.arguments, f"{key}.arguments")
        try:
            load_function(self.factory, f"{key}.factory")
        except ConfigError as error:
            yield from error.problems

    def identity(self) -> dict[str, Any]:
        """The function's source."""
        return {"source": source_hash(self.factory, "model.factory")}

    def net(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        build = load_function(self.factory, "model.factory")
        with torch.device("cpu"):  # a net of one's own need not be made for the meta device
            built = build(shape, classes, **self.arguments)
        if not isinstance(built, nn.Module):
            raise TypeError(f"expected an nn.Module, came a {type(built).__name__}")
        return built

    def check(self, shape: tuple[int, int, int], classes: int, features: bool) -> Iterator[Problem | str]:
        """A function that raises, or gives something else than a net for such images."""
        reason = _unfit(self.factory, json.dumps(self.arguments), shape, classes, features)
        if reason:
            yield Problem(
                "model.factory", f"{CONTRACT} for images of {' x '.join(map(str, shape))} ({reason})", self.factory
            )


@cache
def _unfit(factory: str, arguments: str, shape: tuple[int, int, int], classes: int, features: bool) -> str | None:
    """Why the net cannot be used; asked once for all cells of a grid, and without moving torch's generator."""
    try:
        with torch.random.fork_rng(devices=[]):
            net = Python(factory, json.loads(arguments)).net(shape, classes)
            if not any(p.requires_grad for p in net.parameters()):
                return "it has no parameters to train"
            if not all(isinstance(item, torch.Tensor) for item in net.state_dict().values()):
                return "its state dict holds other things than tensors"
            if any(nn.parameter.is_lazy(p) for p in net.parameters()):
                return "its lazy layers have no weights before the first batch: give their sizes"
            check_forward(net, shape, classes, features)
    except UnlearnError as error:
        return str(error)
    except Exception as error:  # a net of one's own may fail in any way
        return error_location(error)
    return None
