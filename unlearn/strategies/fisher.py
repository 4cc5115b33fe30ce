"""Fisher forgetting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.checks import at_least, positive
from unlearn.scores import GradientStatistic, Need, complete
from unlearn.strategies.base import Context, Edit, Strategy
from unlearn.types import Subset


@dataclass(frozen=True)
class Fisher(Strategy):
    """Fisher forgetting (Golatkar et al. 2020): theta <- theta + std * eps, so that what D_r does not need is lost.

    eps is standard normal and std^2 = alpha * min(1 / F, cap), with a cap of its own in the last layer; F is the
    diagonal of the Fisher information on D_r, the mean per-sample squared gradient of the cross-entropy at labels
    drawn from the model's p. The form and alpha are the common implementation's, and go together: the paper's theory
    has a std of F^(-1/4). The last layer is the one that holds the last weights of two or more dimensions [ours].
    """

    alpha: float = at_least(0, 3e-6)
    cap: float = positive(1e3)  # of 1 / F
    last_layer_cap: float = positive(1e2)
    samples: int | None = at_least(1, 2000)  # of D_r, evenly spaced, one backward pass each; null: all [ours]
    refresh_bn: bool = True  # estimate batch normalisation's running statistics anew after the edit [ours]

    def needs(self) -> tuple[Need, ...]:
        return (Need(GradientStatistic("mean_square", "sampled"), Subset.RETAIN, self.samples),)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        (need,) = self.needs()
        information, last = complete(context.scores[need], model), last_layer(model)
        generator = context.generator("noise")
        for name, p in model.named_parameters():
            cap = self.last_layer_cap if name in last else self.cap
            eps = torch.randn(p.shape, generator=generator)  # float32, on the CPU: one stream for every machine
            p.add_(self._std(information[name], cap).to(p) * eps.to(p))
        masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
        return Edit(masks, self.refresh_bn)

    def _std(self, information: Tensor, cap: float) -> Tensor:
        """Of the noise, in weight units; F = 0 gets the cap."""
        return (self.alpha * information.double().reciprocal().clamp(max=cap)).sqrt()


def last_layer(model: nn.Module) -> set[str]:
    """Names of the parameters beside the last weights that are no scale of a normalisation layer."""
    layers = [name.rpartition(".")[0] for name, p in model.named_parameters() if p.dim() > 1]
    return {name for name, _ in model.named_parameters() if layers and name.rpartition(".")[0] == layers[-1]}
