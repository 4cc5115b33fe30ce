"""Fisher forgetting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.core.validation import at_least, one_of, positive
from unlearn.functional.estimates import vanished_classes
from unlearn.functional.parameter_scores import GradientStatistic, Need, complete
from unlearn.strategies.base import Context, Edit, Strategy


@dataclass(frozen=True)
class Fisher(Strategy):
    """Fisher forgetting (Golatkar et al. 2020): theta <- theta + std * eps, noise where D_r needs little precision.

    eps is standard normal. F is the diagonal of the Fisher information on D_r, per sample: the mean over D_r of the
    sum over labels y of p(y|x) (d log p(y|x) / d theta)^2 (`labels=all`, one pass for each class), or with a single
    y ~ p per sample (`labels=sampled`), which on a fitted net is nearly always the label that has hardly any gradient.

    v = alpha * min(1 / F, cap), with a cap of its own in the last layer, becomes the variance by one of two forms:

    - `per_weight`: v itself.
    - `tables`: the common implementation, that of the SalUn tables [C]. v is averaged over dimension 1 of every
      parameter of two or more dimensions, and multiplied by `boost` in the last layer and for every parameter of one
      dimension. For a class that the request removes altogether the row of the last layer (weights and bias) is set
      to zero first and its v to `class_variance`, which the factor `boost` then multiplies too.

    The default is `tables`: published rows of Fisher forgetting are of this form, and it alone forgets a class. On
    digits (`labels=all`, seeds 10 and 11) it left of one class a forget accuracy of 0.00 and 0.00, a retain accuracy of
    0.987 and 0.992, where `per_weight` left 0.99 and 0.99, 0.998 and 0.996; of a random tenth a retain accuracy of
    0.985 and 0.991, `per_weight` 0.997 and 0.994.

    alpha and the caps are the common implementation's, and go with 1 / F: the paper's theory has a std of F^(-1/4).
    The last layer is the one that holds the last weights of two or more dimensions [ours]; the common implementation
    takes every parameter with as many rows as there are classes.
    """

    alpha: float = at_least(0, 3e-6)
    cap: float = positive(1e3)  # of 1 / F
    last_layer_cap: float = positive(1e2)
    form: str = one_of("tables", "per_weight")
    boost: float = positive(10.0)  # tables: factor on the variance of the last layer and of 1-D parameters
    class_variance: float = positive(1e-4)  # tables: of a vanished class's row, before `boost`
    labels: str = one_of("all", "sampled")
    samples: int | None = at_least(1, 2000)  # of D_r, evenly spaced; null: all [ours]
    refresh_bn: bool = True  # estimate batch normalisation's running statistics again after the edit [ours]

    def needs(self) -> tuple[Need, ...]:
        of = {"all": "expected", "sampled": "sampled"}[self.labels]
        return (Need(GradientStatistic("mean_square", of), Subset.RETAIN, self.samples),)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        (need,) = self.needs()
        information, last = complete(context.scores[need], model), last_layer(model)
        vanished = self._vanished(context)
        generator = context.generator("noise")
        for name, p in model.named_parameters():
            variance = self._variance(information[name], name in last)
            if name in last and len(vanished):
                p[vanished], variance[vanished] = 0, self.class_variance * self.boost
            eps = torch.randn(p.shape, generator=generator)  # float32, on the CPU: one stream for every machine
            p.add_(variance.sqrt().to(p) * eps.to(p))
        masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
        return Edit(masks, self.refresh_bn)

    def _vanished(self, context: Context) -> Tensor:
        """Rows of the last layer that are to be set to zero, int64 [k]."""
        if self.form != "tables":
            return torch.empty(0, dtype=torch.int64)
        return vanished_classes(*(context.data[subset].labels for subset in (Subset.FORGET, Subset.RETAIN)))

    def _variance(self, information: Tensor, last: bool) -> Tensor:
        """Of the noise, in squared weight units, float64 of the parameter's shape; F = 0 gets the cap."""
        cap = self.last_layer_cap if last else self.cap
        variance = self.alpha * information.double().reciprocal().clamp(max=cap)
        if self.form == "per_weight":
            return variance
        if variance.dim() > 1:
            variance = variance.mean(1, keepdim=True).expand_as(variance).clone()
        return variance * self.boost if last or variance.dim() == 1 else variance


def last_layer(model: nn.Module) -> set[str]:
    """Names of the parameters beside the last weights that are no scale of a normalisation layer."""
    layers = [name.rpartition(".")[0] for name, p in model.named_parameters() if p.dim() > 1]
    return {name for name, _ in model.named_parameters() if layers and name.rpartition(".")[0] == layers[-1]}
