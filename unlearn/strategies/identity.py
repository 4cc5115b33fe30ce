"""The original, unchanged."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.base import Strategy


@dataclass(frozen=True)
class Identity(Strategy):
    """Return the original unchanged: the control, for which every difference from the original is zero."""

    corrects_labels = True  # it corrects none, but is the control of strategies that do

    @property
    def reads_retain(self) -> bool:
        return False
