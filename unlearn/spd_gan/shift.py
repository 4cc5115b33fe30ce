"""Measurements of a perturbation, for its curve."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHUNK = 512  # images in a batch


@torch.no_grad()
def measure_shift(guide: nn.Module, clean: Tensor, moved: Tensor, labels: Tensor) -> Tensor:
    """Return the values that `SHIFT_NAMES` names.

    Args:
        guide: the guiding classifier, in eval mode.
        clean: images [n, c, h, w] in [0, 1].
        moved: the perturbed images.
        labels: int64 [n].

    Returns:
        float32 [3]: mean and max |x' - x|, and the guide's accuracy on x' (0-1).
    """
    change = (moved - clean).abs()
    logits = torch.cat([guide(images) for images in torch.split(moved, CHUNK)])
    return torch.stack([change.mean(), change.max(), (logits.argmax(1) == labels).float().mean()])


SHIFT_NAMES = ("mean_shift", "max_shift", "guide_accuracy")
