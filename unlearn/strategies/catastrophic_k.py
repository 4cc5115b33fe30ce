"""Catastrophically forgetting the last k layers."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.last_layers import LastLayers


@dataclass(frozen=True)
class CatastrophicK(LastLayers):
    """CF-k (Goel et al. 2022): the last k layers are fine-tuned on the retain set from where they are."""
