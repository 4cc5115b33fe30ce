"""LRA-NPP: prune the paths that are most relevant to a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.types import Subset
from unlearn.core.validation import at_least, one_of
from unlearn.functional.parameter_scores import Need, Relevance, find_last_linear
from unlearn.strategies.base import Context, Edit, Strategy
from unlearn.strategies.selection import exact_count, fraction_or_count

NEED = Need(Relevance(), Subset.VALIDATION)


@dataclass(frozen=True)
class LrpPath(Strategy):
    """Cut the paths most relevant to a class (LRA-NPP 2024): class-wise, without forget images or fine-tuning.

    For each class in D_f it analyses the first `samples` validation samples [ours]: the `n` inputs of the last linear
    layer that are most relevant to each sample, and of these inputs the `m` that occur most often; ties go to the lower
    index. The weights from these inputs to the class, or to all classes, are set to zero or get noise.

    The paper has n = 200 and m = 400 of the 2048 inputs of a ResNet-50. It states no unit of the noise: here it is the
    layer's population standard deviation, for Laplace noise too [ours].
    """

    class_wise_only: ClassVar[bool] = True

    samples: int = at_least(1, 36)  # validation samples of each class, at most
    n: float | int = fraction_or_count(0.1)  # inputs kept for each sample: a fraction or count of the layer's inputs
    m: float | int = fraction_or_count(0.2)  # inputs whose weights change, for each class: a fraction or count
    reach: str = one_of("class", "column")  # weights to the class (paper: MLP), or to all classes (conv nets)
    mode: str = one_of("zero", "gaussian", "laplace")  # set weights to zero, or add noise
    noise_scale: float = at_least(0, 1.0)  # standard deviation of the noise, in units of that of the layer's weights

    @property
    def reads_retain(self) -> bool:
        return False

    def needs(self) -> tuple[Need, ...]:
        return (NEED,)

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        layer = find_last_linear(net())
        if layer is None:
            yield Problem("strategy", "another than lrp_path for a net without an nn.Linear", "lrp_path")
            return
        inputs = layer[1].in_features
        for key, k in (("n", self.n), ("m", self.m)):
            if isinstance(k, int) and k > inputs:
                yield Problem(f"strategy.{key}", f"a fraction, or a count of at most the layer's {inputs} inputs", k)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        layer = find_last_linear(model)
        assert layer is not None, "refused by check"
        name, head = layer
        mask = torch.zeros_like(head.weight, dtype=torch.bool)
        for label in sorted(set(context.data[Subset.FORGET].labels.tolist())):
            inputs = self._inputs(label, context)
            mask[label if self.reach == "class" else slice(None), inputs] = True
        head.weight[mask] = self._replacement(head.weight, context)[mask]  # indexing leaves all other bits alone
        return Edit({f"{name}.weight".removeprefix("."): mask})

    def _inputs(self, label: int, context: Context) -> Tensor:
        """Return the inputs that matter most to a class, int64 [at most m]."""
        scores = context.scores[NEED]
        relevance = scores["relevance"][scores["labels"] == label][: self.samples]
        if not len(relevance):
            raise UnlearnError(f"strategy: lrp_path expected validation samples of class {label}, got none")
        width = relevance.shape[1]
        top = relevance.argsort(dim=1, descending=True, stable=True)[:, : exact_count(self.n, width)]
        counts = top.flatten().bincount(minlength=width)
        ranked = counts.argsort(descending=True, stable=True)[: exact_count(self.m, width)]
        return ranked[counts[ranked] > 0]

    def _replacement(self, weight: Tensor, context: Context) -> Tensor:
        if self.mode == "zero":
            return torch.zeros_like(weight)
        generator = context.generator("noise")  # one draw for every setting, times its scale
        draw = {"gaussian": draw_gaussian, "laplace": draw_laplace}[self.mode]
        return weight + self.noise_scale * weight.std(correction=0) * draw(weight.shape, generator).to(weight)


def draw_gaussian(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise, float32."""
    return torch.randn(shape, generator=generator)


def draw_laplace(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw Laplace noise of mean 0 and variance 1, float32: the difference of two exponential draws."""
    uniform = torch.rand((2, *shape), generator=generator, dtype=torch.float64)  # in [0, 1)
    first, second = -torch.log1p(-uniform)
    noise: Tensor = (first - second) / 2**0.5  # exponential draws have variance 1 each
    return noise.float()
