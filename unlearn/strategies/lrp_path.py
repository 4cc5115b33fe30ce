"""Relevance-guided pruning of the paths to a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.types import Subset
from unlearn.core.validation import at_least, one_of
from unlearn.functional.parameter_scores import Need, Relevance, last_linear
from unlearn.strategies.base import Context, Edit, Strategy
from unlearn.strategies.selection import amount, exact_count

NEED = Need(Relevance(), Subset.VALIDATION)


@dataclass(frozen=True)
class LrpPath(Strategy):
    """Cuts the paths most relevant to a class (LRA-NPP 2024): class-wise, without forgotten images or fine-tuning.

    Of each class in D_f, up to `samples` validation samples are analysed, the first ones (our choice): the `n` inputs
    of the last linear layer most relevant to each, and of these inputs the `m` that come up most often; ties go to the
    lower index. Their weights to the class, or to all classes, are set to zero or get noise.

    The paper reads n = 200 and m = 400 of a ResNet-50's 2048 inputs. Its noise has no stated unit: here it is the
    layer's own population standard deviation, for Laplace noise too (our choice).
    """

    class_wise_only: ClassVar[bool] = True

    samples: int = at_least(1, 36)  # of validation, for each class
    n: float | int = amount(0.1)  # inputs kept of each sample: share or count of the layer's
    m: float | int = amount(0.2)  # inputs whose weights change, for each class
    reach: str = one_of("class", "column")  # weights to the class (paper: MLP), or to all classes (conv nets)
    mode: str = one_of("zero", "gaussian", "laplace")
    noise_scale: float = at_least(0, 1.0)  # standard deviation of the noise, in that of the layer's weights

    @property
    def reads_retain(self) -> bool:
        return False

    def needs(self) -> tuple[Need, ...]:
        return (NEED,)

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        found = last_linear(net())
        if found is None:
            yield Problem("strategy", "another than lrp_path for a net without an nn.Linear", "lrp_path")
            return
        inputs = found[1].in_features
        for key, k in (("n", self.n), ("m", self.m)):
            if isinstance(k, int) and k > inputs:
                yield Problem(f"strategy.{key}", f"a share, or a count of at most the layer's {inputs} inputs", k)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        found = last_linear(model)
        assert found is not None, "refused by check"
        name, head = found
        mask = torch.zeros_like(head.weight, dtype=torch.bool)
        for label in sorted(set(context.data[Subset.FORGET].labels.tolist())):
            inputs = self._inputs(label, context)
            mask[label if self.reach == "class" else slice(None), inputs] = True
        head.weight[mask] = self._replacement(head.weight, context)[mask]  # indexing leaves all other bits alone
        return Edit({f"{name}.weight".removeprefix("."): mask})

    def _inputs(self, label: int, context: Context) -> Tensor:
        """Which inputs matter most to a class, int64 [at most m]."""
        scores = context.scores[NEED]
        relevance = scores["relevance"][scores["labels"] == label][: self.samples]
        if not len(relevance):
            raise UnlearnError(f"strategy: lrp_path expected validation samples of class {label}, came none")
        width = relevance.shape[1]
        top = relevance.argsort(dim=1, descending=True, stable=True)[:, : exact_count(self.n, width)]
        counts = top.flatten().bincount(minlength=width)
        ranked = counts.argsort(descending=True, stable=True)[: exact_count(self.m, width)]
        return ranked[counts[ranked] > 0]

    def _replacement(self, weight: Tensor, context: Context) -> Tensor:
        if self.mode == "zero":
            return torch.zeros_like(weight)
        generator = context.generator("noise")  # one draw for every setting, times its scale
        drawn = {"gaussian": gaussian, "laplace": laplace}[self.mode](weight.shape, generator)
        return weight + self.noise_scale * weight.std(correction=0) * drawn.to(weight)


def gaussian(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Standard normal noise, float32."""
    return torch.randn(shape, generator=generator)


def laplace(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Laplace noise of mean 0 and variance 1, float32: an exponential draw in each direction."""
    uniform = torch.rand((2, *shape), generator=generator, dtype=torch.float64)  # in [0, 1)
    there, back = -torch.log1p(-uniform)
    noise: Tensor = (there - back) / 2**0.5  # exponential draws have variance 1 each
    return noise.float()
