"""Top-K perturbation."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import Selection, TopKSelection, fraction_or_count


@dataclass(frozen=True)
class TopK(Perturbation):
    """Top-K (Zuo et al. 2025): perturb the K parameters most sensitive to the forget set [S], then fine-tune [S].

    Sensitivity is the size of dF/dw over D_f [S]; `Sensitivity` describes its options. The defaults are ours, chosen on
    digits and CIFAR-10 (JPEG copy), seeds 10 and 11, which no published table uses: a tenth of the weights moves 30 %
    of the way to freshly initialised values, and a push away from the labels of D_f acts while they are remembered
    (`Perturbation`, `Repair`). docs/real-images.md reports what they reach.
    """

    selection: Selection = field(default_factory=TopKSelection)
    k: float | int = fraction_or_count(0.1)  # of the eligible weights, those that are perturbed
