"""Processes of one machine, each on a GPU of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from unlearn.pipeline.config import RunConfig

OFFERED, VISIBLE = "UNLEARN_GPUS", "CUDA_VISIBLE_DEVICES"
_held: list[FileLock] = []  # of this process, until it ends


def offer_gpus(configs: Iterable[RunConfig]) -> None:
    """Tell the processes that a launcher starts on this machine which GPUs they share out, if their cells use any."""
    os.environ.pop(OFFERED, None)
    if any(config.cluster.spreads and config.trainer.device == "cuda" for config in configs):
        named = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
        os.environ[OFFERED] = ",".join(named or map(str, range(torch.cuda.device_count())))


def take_gpu() -> None:
    """Claim one of the GPUs offered for as long as this process lives; CUDA, not yet started, then sees it alone.

    The first that nobody holds, or with more processes than GPUs one that the fewest hold: each further process on a
    GPU holds another lock.
    """
    offered = os.environ.get(OFFERED)
    if not offered or _held:
        return
    folder = Path(tempfile.gettempdir()) / f"unlearn-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for turn in count():
        for gpu in offered.split(","):
            lock = FileLock(folder / f"{gpu.replace('/', '-')}.{turn}")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            _held.append(lock)
            os.environ[VISIBLE] = gpu
            return
