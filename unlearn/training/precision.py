"""Precisions of a GPU: TF32 only where it is enabled, and float16 with a scaled loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# [ours] torch starts with 65536, at which the first steps of a training overflow and are skipped. The scale doubles
# after 2000 steps without an overflow, and is halved at each overflow.
INITIAL_SCALE = 1024.0


def allow_tf32(allowed: bool) -> None:
    """Set whether float32 convolutions and matrix products may round their inputs to TF32, on a GPU that has it.

    TF32 has 10 bits of mantissa, float32 has 23. torch's default allows TF32 for convolutions.
    """
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """As `allow_tf32`, within a `with` block."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    allow_tf32(allowed)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class CountingScaler(torch.amp.GradScaler):
    """Scales a float16 loss, and counts the steps that it skips because their gradients are not finite."""

    def __init__(self, device: str) -> None:
        super().__init__(device, init_scale=INITIAL_SCALE)
        self.skipped = 0

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        """Take torch's step; a hook of the optimizer shows whether it ran, without a synchronisation."""
        steps: list[bool] = []
        hook = optimizer.register_step_post_hook(lambda *_: steps.append(True))
        try:
            return super().step(optimizer, *args, **kwargs)
        finally:
            hook.remove()
            self.skipped += not steps
