"""Catastrophically forgetting the last k layers."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.strategies.last_layers import LastLayers


@dataclass(frozen=True)
class CatastrophicK(LastLayers):
    """CF-k (Goel et al. 2022): fine-tune the last `k` layers on the retain set, from the original's weights."""
