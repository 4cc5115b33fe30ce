"""Perturb selected parameters once, then repair: what Top-K, Random-k and their foil have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.validation import at_least, finite, fraction, one_of
from unlearn.functional.parameter_scores import Need
from unlearn.strategies.base import Context, Edit, Masks
from unlearn.strategies.dampening import NEEDS, factor, importances
from unlearn.strategies.repair import Repair
from unlearn.strategies.selection import Selection, amount


@dataclass(frozen=True, kw_only=True)
class Perturbation(Repair):
    """Change the entries under a mask M of exactly K entries once, then fine-tune by the phase of `Repair`.

    Perturbing a selected few instead of all is the paper's idea [P]. With `mode=add` the perturbation is Gaussian
    noise [S], theta = theta_0 + M * noise. Its size is absolute, or relative to each tensor's population standard
    deviation. Noise that a net with batch normalisation survives can end one without at chance, so the default is
    `mode=reinitialise`: the entries move a fraction `strength` of the way to a fresh initialisation [ours], which
    scales with the net. Zeroing and dampening (by SSD's factor, which spares what matters more to all samples than to
    the forgotten ones) are further alternatives [ours].

    An edit leaves running statistics of batch normalisation behind that fit the old weights. On CIFAR-10 (the JPEG
    copy, ResNet-18, 3,000 images, 2 seeds, 44 edits without fine-tuning) estimating them anew gave back 10
    points of retain accuracy on the mean and 39 at most; fine-tuning does the same by itself. It is the retain set
    that passes, once, and its time counts.
    """

    selection: Selection
    k: float | int = amount(0.1)
    mode: str = one_of("reinitialise", "add", "zero", "dampen")
    strength: float = fraction(0.3)  # reinitialise: how far the entries move towards a fresh initialisation
    noise: str = one_of("relative", "absolute")  # add: the unit of noise_scale
    noise_scale: float = at_least(0, 0.5)  # add: in the tensor's standard deviations, or in weight units if absolute
    dampening: float = at_least(0, 1.0)  # dampen: entries are multiplied by min(this * I(D) / I(D_f), 1)
    js_weight: float = finite(-1.0)
    refresh_bn: bool = True  # estimate batch normalisation's running statistics anew after the edit [ours]
    movable: str = one_of("all", "selected", "rest")  # which entries the fine-tuning may change [ours]

    @property
    def gentler(self) -> str:
        by_mode = {"add": "strategy.noise_scale", "reinitialise": "strategy.strength", "dampen": "strategy.dampening"}
        return f"lower {by_mode[self.mode]} or strategy.k" if self.mode in by_mode else "lower strategy.k"

    def needs(self) -> tuple[Need, ...]:
        return self.selection.needs() + (NEEDS if self.mode == "dampen" else ())

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from self.selection.check(self.k, net)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        masks = self.selection.masks(model, self.k, context)
        parameters = dict(model.named_parameters())
        replacements = self._replacements(parameters, context)
        for name, mask in masks.items():  # by one pass, which leaves all other bits alone
            torch.where(mask, replacements[name], parameters[name], out=parameters[name])
        return Edit(masks, self.refresh_bn)

    def trainable_masks(self, context: Context, edit: Edit) -> Masks | None:
        if self.movable == "all":
            return None
        wanted = self.movable == "selected"
        return {
            name: edit.masks.get(name, torch.zeros_like(p, dtype=torch.bool)) == wanted
            for name, p in context.original.named_parameters()
        }

    def _replacements(self, parameters: Mapping[str, nn.Parameter], context: Context) -> Mapping[str, Tensor]:
        if self.mode == "zero":
            return {name: torch.zeros_like(p) for name, p in parameters.items()}
        if self.mode == "dampen":
            pairs = importances(context.original, context.scores)
            return {name: (p * factor(*pairs[name], self.dampening)).to(p.dtype) for name, p in parameters.items()}
        if self.mode == "reinitialise":
            fresh = context.fresh_model().named_parameters()
            return {name: torch.lerp(parameters[name], p.to(parameters[name]), self.strength) for name, p in fresh}
        if self.noise_scale == 0:
            return parameters
        generator = context.generator("noise")  # one draw for every cell of a grid, times its scale
        scales = noise_units(parameters) if self.noise == "relative" else dict.fromkeys(parameters, 1.0)
        return {
            name: p + self.noise_scale * scales[name] * torch.randn(p.shape, generator=generator).to(p)
            for name, p in parameters.items()
        }


def noise_units(parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """The unit of relative noise for each tensor: its population standard deviation.

    Where that is 0 (a constant tensor), its root mean square; where that is 0 too (a zero bias), the unit of the
    same layer's weight (our choice).
    """
    own = {name: _spread(p.double()) for name, p in parameters.items()}
    return {name: unit or own.get(f"{name.rpartition('.')[0]}.weight", 0.0) for name, unit in own.items()}


def _spread(p: Tensor) -> float:
    std, size = float(p.std(correction=0)), float(p.square().mean().sqrt())
    return std if std > 1e-6 * size else size  # rounding alone gives a constant tensor some spread
