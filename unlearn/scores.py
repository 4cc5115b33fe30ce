"""How much each parameter matters for a set of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.checks import one_of


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of F(x, w) to each weight over a set of samples.

    The paper scores by the size of dF/dw [S]; whether F is the loss or the output norm, and how samples are
    summed, is not known, so both are options [ours]:

    - `mean_gradient`: |mean over samples of dF/dw|
    - `sum_absolute`: sum over samples of |dF/dw|
    - `mean_square`: mean over samples of (dF/dw)^2

    with F the cross-entropy (`loss`) or half the squared norm of the logits (`output`).
    """

    score: str = one_of("mean_gradient", "sum_absolute", "mean_square")
    of: str = one_of("loss", "output")

    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Scores >= 0 by parameter name, each of its parameter's shape, for a model in eval mode.

        `batches` yields images float32 [b, c, h, w] in [0, 1] and labels int64 [b]; how they are cut does not
        change the result.
        """
        if model.training:
            raise ValueError("sensitivity is defined for a model in eval mode")
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        n = 0
        for images, labels in batches:
            n += len(labels)
            if self.score == "mean_gradient":
                self._add(total, parameters, self._function(model, images, labels), lambda g: g)
                continue
            power = torch.abs if self.score == "sum_absolute" else torch.square
            for i in range(len(labels)):  # per sample: the square of a mean gradient would be another quantity
                value = self._function(model, images[i : i + 1], labels[i : i + 1])
                self._add(total, parameters, value, power)
        if self.score == "mean_gradient":
            return {name: (t / n).abs() for name, t in total.items()}
        return {name: t / n if self.score == "mean_square" else t for name, t in total.items()}

    def _function(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of F over a batch."""
        logits = model(images)
        if self.of == "output":
            half_square: Tensor = 0.5 * logits.square().sum()
            return half_square
        return F.cross_entropy(logits, labels, reduction="sum")

    @staticmethod
    def _add(
        total: dict[str, Tensor],
        parameters: dict[str, nn.Parameter],
        value: Tensor,
        power: Callable[[Tensor], Tensor],
    ) -> None:
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(total, gradients, strict=True):
            if gradient is not None:
                total[name] += power(gradient)
