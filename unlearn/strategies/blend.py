"""Option group `blend`: mix an unlearned model with the original, to compare strategies at equal retention."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.validation import at_least, checked, fraction

ROUNDING = 1e-9  # of a target that is a difference of two accuracies


@dataclass(frozen=True)
class BlendResult:
    """The fraction `a` of the original that `Mix` chose, the accuracy it gives, and the target accuracy; all 0-1."""

    a: float
    validation_accuracy: float
    target: float


@dataclass(frozen=True)
class Blend(ABC):
    """What happens to the unlearned model before it is evaluated."""


@dataclass(frozen=True)
class NoBlend(Blend):
    """Evaluate the unlearned model as it is."""


@dataclass(frozen=True)
class Mix(Blend):
    """theta = a theta_0 + (1 - a) theta_u: mix in as much of the original as a target validation accuracy needs.

    a is found by bisection. After Unlearning with Control (2024). Ours: the scan before the bisection and the stopping
    rules; running statistics are mixed as weights are; a = 0 where the unlearned model reaches the target by itself;
    the default target.
    """

    target: float | None = checked(None, "an accuracy in (0, 1]", lambda v: 0 < v <= 1)  # null: the original's - drop
    drop: float = fraction(0.01)  # validation accuracy, 0-1, that the default target may lose
    tolerance: float = fraction(0.005)  # accuracy above the target at which to stop; a small validation set limits it
    scan: int = at_least(1, 20)  # equal pieces of [0, 1] to try upwards before bisecting; 1: bisection alone
    precision: float = fraction(0.001, zero=False)  # of a: largest distance from a fraction that misses the target
    steps: int = at_least(1, 20)  # largest number of bisection steps

    def find_fraction(self, accuracy: Callable[[float], float]) -> BlendResult:
        """Find a fraction `a` whose accuracy reaches the target.

        Accuracy need not grow with a: between two distant models it often falls first, and bisection over all of [0, 1]
        would then end close to the original. So a scan finds the first piece at whose end the target is reached, and
        the bisection runs within that piece. It keeps accuracy(low) < target <= accuracy(high) and ends where the
        target is crossed: at *an* a, the smallest only up to the pieces of the scan. It continues until `precision` and
        `tolerance` are both met, or `steps` are done: where accuracy jumps over the tolerance, it stays above.

        Args:
            accuracy: validation accuracy (0-1) of the model mixed with a fraction a (0-1) of the original.

        Returns:
            The fraction, the accuracy it gives, and the target.

        Raises:
            UnlearnError: not even the original reaches the target.
        """
        whole = accuracy(1.0)
        target = whole - self.drop if self.target is None else self.target
        if whole < target - ROUNDING:
            expected = f"at most the original's validation accuracy, {whole:.4f}"
            raise UnlearnError(str(Problem("blend.target", expected, target)))
        if (alone := accuracy(0.0)) >= target - ROUNDING:
            return BlendResult(0.0, alone, target)
        low, high, reached = self._bracket(accuracy, target, whole)
        for _ in range(self.steps):
            if high - low <= self.precision and reached <= target + self.tolerance:
                break
            middle = (low + high) / 2
            if (value := accuracy(middle)) >= target - ROUNDING:
                high, reached = middle, value
            else:
                low = middle
        return BlendResult(high, reached, target)

    def _bracket(self, accuracy: Callable[[float], float], target: float, whole: float) -> tuple[float, float, float]:
        """Return neighbouring fractions of the scan, below and at the target, and the accuracy of the second."""
        for piece in range(1, self.scan):
            if (value := accuracy(piece / self.scan)) >= target - ROUNDING:
                return (piece - 1) / self.scan, piece / self.scan, value
        return (self.scan - 1) / self.scan, 1.0, whole


def interpolate(original: Mapping[str, Tensor], unlearned: Mapping[str, Tensor], a: float) -> dict[str, Tensor]:
    """Return a theta_0 + (1 - a) theta_u.

    Args:
        original: theta_0, a state dict.
        unlearned: theta_u, a state dict of the same net.
        a: the fraction of the original, 0-1.

    Returns:
        The mixed state dict. Integers (counters) are those of theta_u. Values that are equal in both stay equal to the
        bit.
    """
    return {
        name: torch.lerp(value, original[name], a) if value.is_floating_point() else value.clone()
        for name, value in unlearned.items()
    }
