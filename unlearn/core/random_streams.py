"""Random streams named by what they are for, so that no draw depends on what else was computed."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, purpose: str, role: str = "", epoch: int = 0) -> int:
    """A 63-bit seed for one stream; streams of different names are independent (our choice: SHA-256)."""
    text = f"{seed}/{purpose}/{role}/{epoch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, role: str = "", epoch: int = 0) -> torch.Generator:
    """A CPU generator for one stream, the same on every machine and device."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, role, epoch))
