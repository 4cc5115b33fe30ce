"""Random streams named by their purpose, so that a draw does not depend on what else was computed."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, purpose: str, role: str = "", epoch: int = 0) -> int:
    """Derive the seed of one stream from its name.

    Args:
        seed: the seed of the run.
        purpose: what the numbers are for, such as `dropout`.
        role: the model that they are for.
        epoch: the epoch that they are for.

    Returns:
        A 63-bit seed. Streams of different names are independent [ours: SHA-256].
    """
    text = f"{seed}/{purpose}/{role}/{epoch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, role: str = "", epoch: int = 0) -> torch.Generator:
    """Create the CPU generator of one stream, the same on every machine and device; arguments as `stream_seed`."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, role, epoch))
