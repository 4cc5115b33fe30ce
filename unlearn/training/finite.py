"""Whether training blew up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors of one device hold neither infinities nor NaN; the CPU waits for the device once."""
    return not tensors or bool(torch.stack([each.isfinite().all() for each in tensors]).all())
