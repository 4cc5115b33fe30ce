"""What a perturbation has come to, for its curve."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHUNK = 512  # images at a time


@torch.no_grad()
def measure_shift(guide: nn.Module, clean: Tensor, moved: Tensor, labels: Tensor) -> Tensor:
    """Mean and max |x' - x| over images in [0, 1], and the guide's accuracy on x', 0-1: float32 [3]."""
    change = (moved - clean).abs()
    logits = torch.cat([guide(images) for images in torch.split(moved, CHUNK)])
    return torch.stack([change.mean(), change.max(), (logits.argmax(1) == labels).float().mean()])


SHIFT_NAMES = ("mean_shift", "max_shift", "guide_accuracy")
