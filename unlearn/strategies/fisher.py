"""Fisher forgetting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.core.validation import at_least, one_of, positive
from unlearn.functional.estimates import vanished_classes
from unlearn.functional.parameter_scores import GradientStatistic, Need, require_complete
from unlearn.strategies.base import Context, Edit, Strategy


@dataclass(frozen=True)
class Fisher(Strategy):
    """Fisher forgetting (Golatkar et al. 2020): add noise to weights that D_r does not need to be precise.

    theta <- theta + sqrt(variance) * eps, with eps standard normal. F is the diagonal of the per-sample Fisher
    information on D_r: the mean over D_r of the sum over labels y of p(y|x) (d log p(y|x) / d theta)^2 (`labels=all`,
    one pass for each class), or with a single y ~ p for each sample (`labels=sampled`). Trap: on a fitted net the
    sampled label is nearly always the one that has hardly any gradient.

    v = alpha * min(1 / F, cap), with another cap in the last layer, becomes the variance in one of two forms:

    - `form=per_weight`: v itself.
    - `form=tables`: the common implementation, that of the SalUn tables [C]. v is averaged over dimension 1 of every
      parameter of two or more dimensions, and multiplied by `boost` in the last layer and for every parameter of one
      dimension. For a class that the request removes altogether the row of the last layer (weights and bias) is set
      to zero first and its v to `class_variance`, which `boost` then multiplies too.

    The default is `tables`: published rows of Fisher forgetting have this form, and only this form forgets a class. On
    digits (`labels=all`, seeds 10 and 11), for one class: forget accuracy 0.00 and 0.00 with a retain accuracy of 0.987
    and 0.992, where `per_weight` has 0.99 and 0.99 with 0.998 and 0.996. For a random tenth: retain accuracy 0.985 and
    0.991, where `per_weight` has 0.997 and 0.994.

    alpha and the caps are those of the common implementation, and belong to 1 / F: the paper's theory has a standard
    deviation of F^(-1/4). The last layer is the one that holds the last weights of two or more dimensions [ours]; the
    common implementation takes every parameter with as many rows as there are classes.
    """

    alpha: float = at_least(0, 3e-6)  # scale of the variance
    cap: float = positive(1e3)  # upper limit of 1 / F
    last_layer_cap: float = positive(1e2)  # upper limit of 1 / F in the last layer
    form: str = one_of("tables", "per_weight")  # how v becomes the variance
    boost: float = positive(10.0)  # tables: factor on the variance of the last layer and of 1-D parameters
    class_variance: float = positive(1e-4)  # tables: v of the row of a removed class, before `boost`
    labels: str = one_of("all", "sampled")  # labels that the Fisher information is summed over
    samples: int | None = at_least(1, 2000)  # samples of D_r to use, evenly spaced; null: all [ours]
    refresh_bn: bool = True  # estimate batch normalisation's running statistics again after the edit [ours]

    def needs(self) -> tuple[Need, ...]:
        function = {"all": "expected", "sampled": "sampled"}[self.labels]
        return (Need(GradientStatistic("mean_square", function), Subset.RETAIN, self.samples),)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        (need,) = self.needs()
        information, last = require_complete(context.scores[need], model), last_layer(model)
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
        """Return the rows of the last layer that are set to zero, int64 [k]."""
        if self.form != "tables":
            return torch.empty(0, dtype=torch.int64)
        return vanished_classes(*(context.data[subset].labels for subset in (Subset.FORGET, Subset.RETAIN)))

    def _variance(self, information: Tensor, last: bool) -> Tensor:
        """Return the variance of the noise, float64 in the parameter's shape; F = 0 gets the cap."""
        cap = self.last_layer_cap if last else self.cap
        variance = self.alpha * information.double().reciprocal().clamp(max=cap)
        if self.form == "per_weight":
            return variance
        if variance.dim() > 1:
            variance = variance.mean(1, keepdim=True).expand_as(variance).clone()
        return variance * self.boost if last or variance.dim() == 1 else variance


def last_layer(model: nn.Module) -> set[str]:
    """Return the names of the parameters in the layer that holds the last weights of two or more dimensions."""
    layers = [name.rpartition(".")[0] for name, p in model.named_parameters() if p.dim() > 1]
    return {name for name, _ in model.named_parameters() if layers and name.rpartition(".")[0] == layers[-1]}
