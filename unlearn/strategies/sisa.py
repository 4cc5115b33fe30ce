"""Exact unlearning of a model that was trained in shards and slices."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.base import Strategy


@dataclass(frozen=True)
class Sisa(Strategy):
    """Train the slices of `train=sisa` again that hold a forgotten record, and those after them in their shards.

    The result is the model that the same training makes of the remaining records, bit for bit. It has no settings: the
    pipeline trains the slices (`unlearn/stages/shards.py`).

    Source: [P] Bourtoule et al. 2021, "Machine unlearning", IEEE S&P.
    """

    corrects_labels = True  # a slice with a corrected label is trained again with it

    @property
    def reads_retain(self) -> bool:
        return False
