"""How much each parameter matters for a set of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.checks import at_least, one_of
from unlearn.types import Subset

Scores = dict[str, Tensor]  # parameter name -> float, the parameter's shape


@dataclass(frozen=True)
class Statistic(ABC):
    """Something about a model on a set of samples, by name."""

    name: str

    @abstractmethod
    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        """Tensors by name, for a model in eval mode.

        `batches` yields images float32 [b, c, h, w] in [0, 1] and labels int64 [b]; how they are cut does not
        change the result.
        """


@dataclass(frozen=True)
class GradientStatistic(Statistic):
    """A statistic of dF/dw over a set of samples, F the cross-entropy (`loss`) or half the squared norm of the logits.

    - `mean_gradient`: mean over samples of dF/dw, with its sign
    - `sum_absolute`: sum over samples of |dF/dw|
    - `mean_square`: mean over samples of (dF/dw)^2

    By parameter name, each of its parameter's shape; parameters that no output depends on are left out.
    """

    of: str = "loss"

    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        if model.training:
            raise ValueError("sensitivity is defined for a model in eval mode")
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        total: Scores = {}
        n = 0
        for images, labels in batches:
            n += len(labels)
            if self.name == "mean_gradient":
                self._add(total, parameters, self._function(model, images, labels), lambda g: g)
                continue
            power = torch.abs if self.name == "sum_absolute" else torch.square
            for i in range(len(labels)):  # per sample: the square of a mean gradient would be another quantity
                value = self._function(model, images[i : i + 1], labels[i : i + 1])
                self._add(total, parameters, value, power)
        return total if self.name == "sum_absolute" else {name: t / n for name, t in total.items()}

    def _function(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of F over a batch."""
        logits = model(images)
        if self.of == "output":
            half_square: Tensor = 0.5 * logits.square().sum()
            return half_square
        return F.cross_entropy(logits, labels, reduction="sum")

    @staticmethod
    def _add(
        total: Scores,
        parameters: dict[str, nn.Parameter],
        value: Tensor,
        power: Callable[[Tensor], Tensor],
    ) -> None:
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] = total[name] + power(gradient) if name in total else power(gradient)


@dataclass(frozen=True)
class Need:
    """A statistic of the original on one subset: computed once, shared by all strategies and cells that name it."""

    statistic: Statistic
    subset: Subset
    samples: int | None = None  # at most so many, evenly spaced over the subset; None: all


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of F(x, w) to each weight: what a selection ranks by.

    The paper scores by the size of dF/dw over D_f [S]; whether F is the loss or the output norm, and how samples
    are summed, is not known, so both are options [ours]. `score` is the size of a `GradientStatistic` on D_f, or ours:

    - `ratio`: mean_square on D_f / (mean_square on D_r + damping * its mean over all entries), so that entries rank
      first which matter to the forgotten more than to the retained. An entry without a gradient on D_f scores 0.
    """

    score: str = one_of("mean_gradient", "sum_absolute", "mean_square", "ratio")
    of: str = one_of("loss", "output")
    retain_samples: int | None = at_least(1, 2000)  # ratio: of D_r, evenly spaced, one backward pass each; null: all
    damping: float = at_least(0, 1.0)  # ratio: towards infinity it ranks as mean_square does

    def needs(self) -> tuple[Need, ...]:
        """What it is made of."""
        if self.score != "ratio":
            return (Need(GradientStatistic(self.score, self.of), Subset.FORGET),)
        square = GradientStatistic("mean_square", self.of)
        return Need(square, Subset.FORGET), Need(square, Subset.RETAIN, self.retain_samples)

    def combine(self, scores: Mapping[Need, Scores]) -> Scores:
        """Scores >= 0 by parameter name from those of its needs; infinite where only D_f has a gradient at all."""
        forget, *others = (scores[need] for need in self.needs())
        if not others:
            return {name: value.abs() for name, value in forget.items()}
        (retain,) = others
        floor = self.damping * torch.cat([value.flatten() for value in retain.values()]).double().mean()
        return {name: _ratio(forget[name].double(), retain[name].double() + floor) for name in forget}


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below with 0 / 0 = 0."""
    return torch.where(above == 0, 0.0, above / below)
