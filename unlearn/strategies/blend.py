"""`blend=`: give an unlearned model back so much of the original that strategies compare at equal retention."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.validation import at_least, checked, share

ROUNDING = 1e-9  # of a target that is a difference of two accuracies


@dataclass(frozen=True)
class Found:
    """A share `a` of the original, the accuracy it gives, and the accuracy that was asked for; all 0-1."""

    a: float
    validation_accuracy: float
    target: float


@dataclass(frozen=True)
class Blend(ABC):
    """What becomes of the unlearned model before it is judged."""


@dataclass(frozen=True)
class NoBlend(Blend):
    """Nothing."""


@dataclass(frozen=True)
class Mix(Blend):
    """theta = a theta_0 + (1 - a) theta_u, a by bisection so that validation accuracy reaches a target.

    After Unlearning with Control (2024). [ours]: the scan before the bisection, and where both end; running statistics
    are mixed as weights are; a = 0 where the unlearned model reaches the target by itself; the target's default.
    """

    target: float | None = checked(None, "an accuracy in (0, 1]", lambda v: 0 < v <= 1)  # null: the original's - drop
    drop: float = share(0.01)  # of validation accuracy
    tolerance: float = share(0.005)  # above the target; on few images their number is what limits it
    scan: int = at_least(1, 20)  # equal pieces of 0-1, tried upwards; 1: bisection alone
    precision: float = share(0.001, zero=False)  # of a: at most so far above a share that misses the target
    steps: int = at_least(1, 20)  # of the bisection, at most

    def find(self, accuracy: Callable[[float], float]) -> Found:
        """A share a whose accuracy reaches the target.

        Accuracy need not grow with a: between two models that are no neighbours it often falls first, and bisection
        over all of 0-1 would then end close to the original. So the first piece of the scan at whose end the target is
        reached is bisected. That keeps accuracy(low) < target <= accuracy(high) and ends where the target is crossed:
        at *an* a, the smallest only up to what the scan steps over. It goes on until `precision` and `tolerance` are
        both met, or `steps` are done: where accuracy jumps over the tolerance, it stays above.

        Raises:
            UnlearnError: not even the original reaches the target.
        """
        whole = accuracy(1.0)
        target = whole - self.drop if self.target is None else self.target
        if whole < target - ROUNDING:
            expected = f"at most the original's validation accuracy, {whole:.4f}"
            raise UnlearnError(str(Problem("blend.target", expected, target)))
        if (alone := accuracy(0.0)) >= target - ROUNDING:
            return Found(0.0, alone, target)
        low, high, reached = self._bracket(accuracy, target, whole)
        for _ in range(self.steps):
            if high - low <= self.precision and reached <= target + self.tolerance:
                break
            middle = (low + high) / 2
            if (found := accuracy(middle)) >= target - ROUNDING:
                high, reached = middle, found
            else:
                low = middle
        return Found(high, reached, target)

    def _bracket(self, accuracy: Callable[[float], float], target: float, whole: float) -> tuple[float, float, float]:
        """A share that misses the target, the next of the scan, which reaches it, and the latter's accuracy."""
        for piece in range(1, self.scan):
            if (found := accuracy(piece / self.scan)) >= target - ROUNDING:
                return (piece - 1) / self.scan, piece / self.scan, found
        return (self.scan - 1) / self.scan, 1.0, whole


def interpolate(original: Mapping[str, Tensor], unlearned: Mapping[str, Tensor], a: float) -> dict[str, Tensor]:
    """a theta_0 + (1 - a) theta_u for two state dicts of one net, a in 0-1; counters (integers) are theta_u's.

    What is equal in both stays equal to the bit.
    """
    return {
        name: torch.lerp(now, original[name], a) if now.is_floating_point() else now.clone()
        for name, now in unlearned.items()
    }
