"""Leave PyTorch as the user has set it up: library functions restore what they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from unlearn.training.threads import MAX_THREADS
from unlearn.training.trainer import TrainerSettings


def settings_for(device: torch.device) -> TrainerSettings:
    """Return trainer settings for a device: the threads that torch uses now, and repeatable operations on a CPU.

    On a GPU operations need not repeat bit for bit, because many nets use some that cannot.
    """
    is_cpu = device.type == "cpu"
    return TrainerSettings(
        accelerator="cpu" if is_cpu else "gpu", deterministic=is_cpu, threads=min(torch.get_num_threads(), MAX_THREADS)
    )


@contextmanager
def configure_torch(settings: TrainerSettings) -> Iterator[None]:
    """Apply settings within a `with` block, then restore random numbers, threads and deterministic mode."""
    deterministic: Any = torch.utils.deterministic
    mode, threads = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    fill, benchmark = deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with torch.random.fork_rng(enabled=True):
        try:
            settings.apply()
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(mode)
            deterministic.fill_uninitialized_memory = fill
            torch.backends.cudnn.benchmark = benchmark
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
