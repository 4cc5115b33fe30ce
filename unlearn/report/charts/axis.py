"""One side of a chart: which values it spans, and which numbers stand along it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

DECADES = 10.0  # from this ratio on an axis of positive values is logarithmic


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along one side."""

    label: str
    low: float
    high: float
    log: bool = False
    marks: tuple[float, ...] = ()  # where to write numbers; none: at round ones

    @classmethod
    def over(cls, label: str, values: Iterable[float], marks: Sequence[float] = ()) -> Axis:
        """Around all values, with some room; logarithmic where they are positive and span a decade."""
        known = [value for value in values if isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        if low > 0 and high / low >= DECADES:
            return cls(label, low / (high / low) ** 0.06, high * (high / low) ** 0.06, True, tuple(marks))
        room = (high - low) * 0.07 or abs(high) * 0.1 or 0.1
        return cls(label, low - room if low < 0 or low - room > 0 else -room * 0.5, high + room, False, tuple(marks))

    @classmethod
    def near(cls, label: str, values: Iterable[float]) -> Axis:
        """Around all values, with some room, and linear; 0 need not be on it."""
        known = [value for value in values if isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        room = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
        return cls(label, low - room, high + room)

    def at(self, value: float) -> float:
        """As a share of the way from `low` to `high`, not beyond either."""
        if self.log:
            share = log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """The numbers to write."""
        if self.marks:
            return list(self.marks)
        found = self._decades() if self.log else self._steps()
        return [value for value in found if self.low <= value <= self.high]

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 4
        unit = 10.0 ** floor(log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first, last = ceil(self.low / step), floor(self.high / step)
        return [round(number * step, 12) for number in range(first, last + 1)]

    def _decades(self) -> list[float]:
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        factors = (1, 2, 5) if len(powers) < 4 else (1,)
        return [factor * 10.0**power for power in powers for factor in factors]
