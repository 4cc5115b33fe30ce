"""Nothing at all."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.base import Strategy


@dataclass(frozen=True)
class Identity(Strategy):
    """The original, unchanged: the control whose every difference from the original is zero."""

    corrects_labels = True  # it corrects none: the control of those that do

    @property
    def reads_retain(self) -> bool:
        return False
