"""Exact unlearning of a model that was trained in shards and slices."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.base import Strategy


@dataclass(frozen=True)
class Sisa(Strategy):
    """Train every slice of `train=sisa` again that holds a forgotten record, and all later slices of its shard.

    The result is the model that the same training makes of the remaining records, bit for bit. This class only marks
    the choice; the stages train the slices (`unlearn/stages/shards.py`). It has no settings.

    Source: [P] Bourtoule et al. 2021, "Machine unlearning", IEEE S&P.
    """

    corrects_labels = True  # a slice with a corrected label is trained again with it

    @property
    def reads_retain(self) -> bool:
        return False
