"""A check for infinities and NaN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors of one device hold neither infinities nor NaN; synchronises with the device only once."""
    return not tensors or bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
