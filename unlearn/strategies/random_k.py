"""Random-k perturbation."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import RandomSelection, Selection, fraction_or_count


@dataclass(frozen=True)
class RandomK(Perturbation):
    """Random-k (Zuo et al. 2025): perturb a random fraction `k` of the parameters [S], then fine-tune [S].

    The defaults are those of `TopK` [ours]: the same number of weights, chosen at random.
    """

    selection: Selection = field(default_factory=RandomSelection)
    k: float | int = fraction_or_count(0.1)  # of the eligible weights, those that are perturbed
