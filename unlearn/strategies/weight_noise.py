"""Noise on every weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearn.core.validation import at_least, one_of
from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import All, Selection, fraction_or_count


@dataclass(frozen=True)
class WeightNoise(Perturbation):
    """Add noise to all parameters (k = 1), then fine-tune: the usual approach, which the paper argues against [P].

    The default size of the noise is ours.
    """

    selection: Selection = field(default_factory=All)
    k: float | int = fraction_or_count(1.0)  # must be 1.0 with selection=all
    mode: str = one_of("add", "reinitialise", "zero", "dampen")  # how entries change
    noise_scale: float = at_least(0, 0.1)  # in the tensor's standard deviations, or in weight units if absolute
