"""Assigns each process of a sweep on this machine its own GPU."""

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
_held: list[FileLock] = []  # this process holds them until it ends


def offer_gpus(configs: Iterable[RunConfig]) -> None:
    """List in the environment which GPUs the processes of a launcher on this machine may claim, if any cell uses one.

    Args:
        configs: The configs of all cells.
    """
    os.environ.pop(OFFERED, None)
    if any(config.cluster.divides_gpus and config.trainer.device == "cuda" for config in configs):
        visible = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
        os.environ[OFFERED] = ",".join(visible or map(str, range(torch.cuda.device_count())))


def claim_gpu() -> None:
    """Claim one of the offered GPUs until this process ends, and hide the others from CUDA, which must not run yet.

    The process takes the first GPU that no process holds. If there are more processes than GPUs, it takes one that the
    fewest hold: each further process on a GPU locks another file.
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
