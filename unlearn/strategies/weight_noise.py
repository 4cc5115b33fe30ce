"""Noise on every weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.core.validation import at_least, one_of
from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import All, Selection, amount


@dataclass(frozen=True)
class WeightNoise(Perturbation):
    """Noise on all parameters (k = 1), then fine-tuning: the usual way that the paper argues against [P].

    The default size of the noise is ours.
    """

    selection: Selection = field(default_factory=All)
    k: float | int = amount(1.0)
    mode: str = one_of("add", "reinitialise", "zero", "dampen")
    noise_scale: float = at_least(0, 0.1)  # in the tensor's standard deviations, or in weight units if absolute
