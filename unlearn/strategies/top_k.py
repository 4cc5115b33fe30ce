"""Top-K perturbation."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import Selection, amount
from unlearn.strategies.selection import TopK as MostSensitive


@dataclass(frozen=True)
class TopK(Perturbation):
    """Top-K (Zuo et al. 2025): perturb the K parameters most sensitive to the forget set [S], then fine-tune [S].

    Sensitivity is the size of dF/dw over D_f [S]; its options are described with `Sensitivity`. The defaults are ours,
    chosen on digits and CIFAR-10 (JPEG copy), seeds 10 and 11, which no published table uses: a tenth of the weights
    moves 30 % of the way to fresh values, and a push away from the labels of D_f acts while they are remembered
    (`Perturbation`, `Repair`). docs/real-images.md has what they reach.
    """

    selection: Selection = field(default_factory=MostSensitive)
    k: float | int = amount(0.1)
