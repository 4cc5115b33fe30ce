"""Random-k perturbation."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import Random, Selection, amount


@dataclass(frozen=True)
class RandomK(Perturbation):
    """Random-k (Zuo et al. 2025): perturb a random fraction k of the parameters [S], then fine-tune [S].

    The defaults are ours, those of `TopK`: the same number of weights, chosen at random.
    """

    selection: Selection = field(default_factory=Random)
    k: float | int = amount(0.1)
