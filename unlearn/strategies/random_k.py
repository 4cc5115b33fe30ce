"""Random-k perturbation."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import Random, Selection, amount


@dataclass(frozen=True)
class RandomK(Perturbation):
    """Random-k (Zuo et al. 2025): noise on a random k of the parameters [S], then fine-tuning [S].

    The defaults k = 0.5, relative noise of scale 2, six epochs without divergence term are ours.
    """

    selection: Selection = field(default_factory=Random)
    k: float | int = amount(0.5)
