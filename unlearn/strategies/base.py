"""The contract of a strategy: two hooks, each optional, on a copy of the original model."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from unlearn.errors import Problem
from unlearn.recipe import Recipe
from unlearn.scores import Need, Scores
from unlearn.seeding import stream
from unlearn.types import Predictions, Subset

Masks = dict[str, Tensor]  # parameter name -> bool, the parameter's shape


class Labelled(Protocol):
    """What a loss sees of a batch: images float32 [b, c, h, w] in [0, 1], labels int64 [b]."""

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...


Loss = Callable[[nn.Module, Mapping[Subset, Labelled]], Tensor]
Stop = Callable[[Mapping[Subset, Predictions], Mapping[Subset, Predictions]], bool]


@dataclass(frozen=True)
class Phase:
    """One stretch of fine-tuning; an epoch is a pass over the first subset.

    After each epoch `stop(before, now)` is asked whether it was the last; it is given the model's predictions on the
    `watched` subsets before the first epoch and after the latest.
    """

    subsets: tuple[Subset, ...]
    loss: Loss
    recipe: Recipe
    movable: Masks | None = None  # entries that may change; all others end bit-identical. None: all
    watched: tuple[Subset, ...] = ()
    stop: Stop | None = None  # None: run all epochs


@dataclass(frozen=True)
class Context:
    """What a strategy may look at. The original is frozen and in eval mode."""

    original: nn.Module
    fresh_model: Callable[[], nn.Module]  # the same architecture, newly initialised
    scores: Mapping[Need, Scores]  # what `needs` asked for
    seed: int

    def generator(self, purpose: str) -> torch.Generator:
        """The stream for one purpose: two strategies, or two cells of a grid, share its draws."""
        return stream(self.seed, purpose, "unlearned")


def outputs(model: nn.Module, images: Tensor, running_statistics: bool = False) -> Tensor:
    """Logits of a batch; a single image passes batch normalisation by its running statistics, having none itself.

    With `running_statistics` every batch does, and leaves them as they are.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    still = norms if running_statistics or len(images) == 1 else []
    for norm in still:
        norm.eval()
    try:
        logits: Tensor = model(images)
    finally:
        for norm in still:
            norm.train()
    return logits


@dataclass(frozen=True)
class Edit:
    """What a one-shot edit did."""

    masks: Masks  # entries it may have changed
    refresh_bn: bool = False  # running statistics of batch normalisation are to be estimated anew, on the retain set


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to forget. Its fields are its config; adding one is a `.py` here and a `.yaml` in `conf/strategy`."""

    class_wise_only: ClassVar[bool] = False  # serves requests for a whole class alone
    corrects_labels: ClassVar[bool] = False  # serves requests that correct labels as well

    def needs(self) -> tuple[Need, ...]:
        """Scores of the original, made before the strategy runs and shared between cells."""
        return ()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        """Problems with the net, which has shapes but no values; asked before anything is trained."""
        del net
        yield from ()

    def edit(self, model: nn.Module, context: Context) -> Edit:
        """Change the weights of `model`, a copy of the original, in one shot."""
        del model, context
        return Edit({})

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        """The fine-tuning that follows the edit."""
        del context, edit
        yield from ()
