"""Which weights a strategy may change: a rule that ranks them, and exactly K of the ranking."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import norm_parameters
from unlearn.core.validation import checked, one_of
from unlearn.functional.parameter_scores import Need, Sensitivity
from unlearn.functional.random_k import random_k_mask
from unlearn.functional.top_k import top_k_mask
from unlearn.strategies.base import Context, Masks

MaskRule = Callable[[Mapping[str, Tensor], int], Masks]  # from tensors by name, and the number of entries to select
ZERO_SCORES = (
    "{:,} of the selected weights have a score of 0, which does not rank them: they were selected by their position "
    "alone. A smaller strategy.k leaves them out."
)


@dataclass(frozen=True)
class Selection(ABC):
    """Selects exactly K of the eligible weights of a net.

    The scales and shifts of normalisation layers are not eligible unless `layers` is `all` [ours]. It hardly matters:
    on CIFAR-10 (JPEG copy, ResNet-18, 3,000 images, 44 edits over 2 seeds) leaving them out changed retain accuracy
    right after the edit by 0.1 points on average, from -4 to +8.
    """

    layers: str = one_of("no_norm", "all")  # whether the weights of normalisation layers are eligible
    scope: str = one_of("global", "per_layer")  # one ranking, or one for each parameter tensor (the paper: unknown)
    include: list[str] = field(default_factory=lambda: ["*"])  # shell patterns of parameter names that are eligible
    exclude: list[str] = field(default_factory=list)  # shell patterns of parameter names that are not

    def eligible(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters of `model` that may be selected, by name."""
        skipped = norm_parameters(model) if self.layers == "no_norm" else set()
        return {name: p for name, p in model.named_parameters() if name not in skipped and self._matches(name)}

    def _matches(self, name: str) -> bool:
        included = any(fnmatch(name, pattern) for pattern in self.include)
        return included and not any(fnmatch(name, pattern) for pattern in self.exclude)

    def check(self, k: float | int, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        """Yield problems with `k` and the patterns for a net; the net is built only if the check needs it."""
        if isinstance(k, float) and self.include == ["*"] and not self.exclude:
            return  # valid for every net
        model = net()
        names = [name for name, _ in model.named_parameters()]
        for key, patterns in (("include", self.include), ("exclude", self.exclude)):
            unused = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]
            if unused:
                yield Problem(f"strategy.selection.{key}", f"patterns that match any of {', '.join(names)}", unused)
        n = sum(p.numel() for p in self.eligible(model).values())
        if n == 0:
            key, patterns = ("exclude", self.exclude) if self.exclude else ("include", self.include)
            yield Problem(f"strategy.selection.{key}", "patterns that leave a parameter to select", patterns)
        elif isinstance(k, int) and k > n:
            yield Problem("strategy.k", f"a fraction, or a count of at most the {n} eligible parameters", k)

    def needs(self) -> tuple[Need, ...]:
        """Return the scores that the ranking uses."""
        return ()

    def select(self, model: nn.Module, k: float | int, context: Context) -> Masks:
        """Select exactly K entries of the eligible parameters.

        Args:
            model: the net.
            k: a fraction (float, 0 to 1) of the eligible entries, or a count (int).
            context: the scores, and the seed of random draws.

        Returns:
            By the name of each eligible parameter, a bool mask of its shape.
        """
        eligible = self.eligible(model)
        sizes = {name: p.numel() for name, p in eligible.items()}
        count = exact_count(k, sum(sizes.values()))
        rule = self.make_rule(eligible, context)
        if self.scope == "global":
            return rule(eligible, count)
        counts = allocate(count, sizes)
        return {name: rule({name: p}, counts[name])[name] for name, p in eligible.items()}

    @abstractmethod
    def make_rule(self, eligible: Mapping[str, Tensor], context: Context) -> MaskRule:
        """Return the function that selects a given number of entries of some of the eligible parameters."""


@dataclass(frozen=True)
class RandomSelection(Selection):
    """K random entries: every set of K entries is equally likely.

    With `scope=global` the sets of one seed are nested: that of a smaller K lies within that of a larger K.
    """

    def make_rule(self, eligible: Mapping[str, Tensor], context: Context) -> MaskRule:
        return lambda tensors, count: random_k_mask(tensors, count, context.seed_of("selection/" + " ".join(tensors)))


@dataclass(frozen=True)
class Sensitive(Selection):
    """The K entries with the highest sensitivity; ties go to the lower flat index [ours]."""

    sensitivity: Sensitivity = field(default_factory=Sensitivity)  # how weights are scored

    def needs(self) -> tuple[Need, ...]:
        return self.sensitivity.needs()

    def select(self, model: nn.Module, k: float | int, context: Context) -> Masks:
        masks = super().select(model, k, context)
        gradients = context.scores[self.sensitivity.needs()[0]]  # on the forget set: where it is 0, so is the score
        scored = {name: mask & (gradients[name] != 0) for name, mask in masks.items() if name in gradients}
        zeros = _count(masks) - _count(scored)
        if zeros:
            context.notes["selection"] = ZERO_SCORES.format(zeros)
        return masks

    def make_rule(self, eligible: Mapping[str, Tensor], context: Context) -> MaskRule:
        known = self.sensitivity.combine(context.scores)
        scores = {name: known[name] if name in known else torch.zeros_like(p) for name, p in eligible.items()}
        return lambda tensors, count: top_k_mask({name: scores[name] for name in tensors}, count)


def _count(masks: Masks) -> int:
    """Return the number of selected entries."""
    return sum(int(mask.count_nonzero()) for mask in masks.values())


@dataclass(frozen=True)
class TopKSelection(Sensitive):
    """The K entries that are most sensitive to the forget set [S]: the selection of Top-K (Zuo et al. 2025)."""


@dataclass(frozen=True)
class Saliency(Sensitive):
    """SalUn's mask (Fan et al. 2024): the K entries with the largest |sum over D_f of dCE/dw|, of all layers."""

    layers: str = one_of("all", "no_norm")  # whether the weights of normalisation layers are eligible


@dataclass(frozen=True)
class All(Selection):
    """Every eligible entry, by default of normalisation layers too. `k` must be 1.0."""

    layers: str = one_of("all", "no_norm")  # whether the weights of normalisation layers are eligible

    def check(self, k: float | int, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        if k != 1:
            yield Problem("strategy.k", "1.0, since selection=all takes every parameter", k)
        yield from super().check(k, net)

    def make_rule(self, eligible: Mapping[str, Tensor], context: Context) -> MaskRule:
        del context
        return lambda tensors, _: {name: torch.ones_like(p, dtype=torch.bool) for name, p in tensors.items()}


def fraction_or_count(default: float | int) -> float | int:
    """A field for k: a float in [0, 1] is a fraction of the eligible parameters, an integer from 2 on a count."""
    expected = "a fraction in [0.0, 1.0], or an integer count of at least 2 (for all of them write 1.0)"
    value: float = checked(default, expected, lambda k: (k == 0 or k >= 2) if isinstance(k, int) else 0 <= k <= 1)
    return value


def check_trainable(selection: Selection, k: float | int, net: Callable[[], nn.Module]) -> Iterator[Problem]:
    """Yield problems with a selection of trainable weights: its own, and a k for which a ranking has no use."""
    if k == 0 or (k == 1 and not isinstance(selection, All)):
        expected = "a fraction above 0, and below 1 with a strategy/selection: all of the weights need no ranking"
        yield Problem("strategy.k", expected, k)
    yield from selection.check(k, net)


def trainable_mask(selection: Selection, k: float | int, context: Context) -> Masks | None:
    """Return the entries of the original's parameters that a selection leaves trainable.

    Returns:
        By the name of every parameter, a bool mask of its shape; None if every entry is trainable.
    """
    model = context.original
    selected = selection.select(model, k, context)
    masks = {n: selected.get(n, torch.zeros_like(p, dtype=torch.bool)) for n, p in model.named_parameters()}
    return None if all(bool(mask.all()) for mask in masks.values()) else masks


def exact_count(k: float | int, n: int) -> int:
    """Return K of `n` entries: a float in [0, 1] is a fraction, rounded half up, at least 1 if above 0; an int is K."""
    if isinstance(k, int):
        return k
    return max(1, math.floor(k * n + 0.5)) if k > 0 else 0


def allocate(count: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Split `count` over tensors in proportion to their sizes, by largest remainders; the parts sum to `count`."""
    n = sum(sizes.values())
    counts = {name: count * size // n for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(count * sizes[name] % n))
    for name in by_remainder[: count - sum(counts.values())]:
        counts[name] += 1
    return counts
