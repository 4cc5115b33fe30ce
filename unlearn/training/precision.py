"""Precisions of a GPU: TF32 where it is asked for alone, and float16 with a scaled loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# [ours] torch begins with 65536, where the first steps of a training overflow and are skipped. The scale doubles after
# every 2000 steps without an overflow, and is halved at each.
INITIAL_SCALE = 1024.0


def allow_tf32(allowed: bool) -> None:
    """Whether float32 convolutions and matrix products may round their inputs to TF32, on a GPU that has it.

    torch allows it for convolutions by default: 10 bits of mantissa in place of 23.
    """
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """The same for a while."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    allow_tf32(allowed)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class CountingScaler(torch.amp.GradScaler):
    """Scales a float16 loss, and counts the steps that it skips since their gradients were not finite."""

    def __init__(self, device: str) -> None:
        super().__init__(device, init_scale=INITIAL_SCALE)
        self.skipped = 0

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        """As torch's; the optimizer itself says whether it ran, so that the device need not be waited for."""
        ran: list[bool] = []
        hook = optimizer.register_step_post_hook(lambda *_: ran.append(True))
        try:
            return super().step(optimizer, *args, **kwargs)
        finally:
            hook.remove()
            self.skipped += not ran
