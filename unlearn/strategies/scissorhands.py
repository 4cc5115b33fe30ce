"""Scissorhands: reset the connections that D_f uses most, then repair with projected gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import at_least
from unlearn.functional.parameter_scores import Need
from unlearn.functional.top_k import top_k_mask
from unlearn.strategies.ascent import bounded_loss
from unlearn.strategies.base import Batches, Context, Edit, Phase, task_loss
from unlearn.strategies.gradient_phase import GradientPhase, SecondLoss, StepGradients
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.kernels import FORGET_GRADIENT, reset
from unlearn.strategies.last_layers import last_modules
from unlearn.strategies.selection import exact_count, fraction_or_count
from unlearn.strategies.surgery import dot

TINY = 1e-12  # added to the squared norm that is divided by


@dataclass(frozen=True)
class Scissorhands(Iterative):
    """Scissorhands (Wu et al. 2024): reset the connections that D_f uses most, then fine-tune.

    Of the last `layers` layers the fraction `k` of weights with the largest |theta grad CE(D_f)| is freshly
    initialised (after SNIP). Then CE(D_r) - beta CE(D_f) is minimised. Its gradient g is replaced by the nearest one
    that agrees with the retain gradient g_r, g + v g_r with v = max(margin, -<g_r, g> / ||g_r||^2), which is the
    solution of the authors' quadratic programme for a single constraint.

    The authors reset 3 % of the last two stages and the head, scored on one batch of D_f, and fine-tune for 10 epochs
    at 5e-3 with beta = 0.05 and a margin of 0.5 [C]. Here all of D_f is scored, and samples of D_f whose loss exceeds
    ln C add nothing, because their loss has no upper bound [ours]. Each step has two backward passes.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.005, schedule="cosine"))
    k: float | int = fraction_or_count(0.03)  # of the weights of the last layers, those that are reset
    layers: int = at_least(1, 2)  # at the end of the net, whose weights may be reset
    beta: float = at_least(0, 0.05)  # weight of the forget loss
    margin: float = at_least(0, 0.5)  # the smallest v

    @property
    def gentler_advice(self) -> str:
        return "lower strategy.k"

    def needs(self) -> tuple[Need, ...]:
        return (FORGET_GRADIENT,)

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        try:
            total = sum(p.numel() for p in last_parameters(net(), self.layers).values())
        except ValueError:
            yield Problem("strategy.layers", "at most the layers of the net", self.layers)
            return
        if isinstance(self.k, int) and self.k > total:
            yield Problem("strategy.k", f"a fraction, or a count of at most the {total} weights of the layers", self.k)

    def edit(self, model: nn.Module, context: Context) -> Edit:
        gradients = context.scores[FORGET_GRADIENT]
        candidates = last_parameters(model, self.layers)
        scores = {name: (gradients[name].to(p) * p).abs().detach() for name, p in candidates.items()}
        count = exact_count(self.k, sum(p.numel() for p in candidates.values()))
        masks = top_k_mask(scores, count)
        reset(model, masks, context)
        return Edit(masks, refresh_bn=True)

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        yield GradientPhase(
            {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)},
            self._retain_loss,
            self.recipe,
            budget=self.budget,
            second=SecondLoss(self._forget_loss, self._combine),
        )

    def _retain_loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return task_loss(model, batches, Subset.RETAIN, self.recipe.label_smoothing)

    def _forget_loss(self, model: nn.Module, batches: Batches, _: int) -> Tensor:
        return -self.beta * bounded_loss(model, batches, None, self.recipe.label_smoothing)

    def _combine(self, gradients: StepGradients) -> list[Tensor]:
        both = [r + f for r, f in zip(gradients.retain, gradients.forget, strict=True)]
        inner, square = dot(gradients.retain, both), dot(gradients.retain, gradients.retain)
        v = (-inner / (square + TINY)).clamp(min=self.margin)
        return [g + v * r for g, r in zip(both, gradients.retain, strict=True)]


def last_parameters(model: nn.Module, layers: int) -> dict[str, nn.Parameter]:
    """Return the parameters of the last layers of a net by name."""
    modules = last_modules(model, layers)
    named = ((m, n, p) for m, module in modules.items() for n, p in module.named_parameters(recurse=False))
    return {f"{m}.{n}".removeprefix("."): p for m, n, p in named}
