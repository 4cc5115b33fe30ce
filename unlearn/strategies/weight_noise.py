"""Noise on every weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import All, Selection, amount


@dataclass(frozen=True)
class WeightNoise(Perturbation):
    """Noise on all parameters (k = 1), then fine-tuning: the usual way that the paper argues against [P]."""

    selection: Selection = field(default_factory=All)
    k: float | int = amount(1.0)
