"""Warm-up of a CUDA device (context, handles, kernels), so that its cost is not part of a stage's measured time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from unlearn.core.memory import release_cuda_memory
from unlearn.core.recipe import Recipe
from unlearn.training.layout import channels_last
from unlearn.training.precision import tf32
from unlearn.training.trainer import TrainerSettings

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_done: set[tuple[Any, ...]] = set()  # in this process


def warm_up_once(settings: TrainerSettings, name: tuple[Any, ...], work: Callable[[], object]) -> None:
    """Run `work` on a CUDA device and wait for it, once per process and name; on a CPU nothing is done.

    Errors are ignored: the stage meets them again and reports them. The CPU's random numbers are not affected; those
    of the device are seeded at the start of each epoch.

    Args:
        settings: the device.
        name: identifies the work.
        work: the function to run.
    """
    if not _is_needed(settings) or name in _done:
        return
    _done.add(name)
    with torch.random.fork_rng(devices=[]), suppress(RuntimeError, MemoryError):
        work()
        torch.cuda.synchronize()
    release_cuda_memory()


def training_step(model: nn.Module, recipe: Recipe, shape: tuple[int, int, int], settings: TrainerSettings) -> None:
    """Run one training step on black images.

    Args:
        model: the net; it is changed.
        recipe: optimizer and batch size.
        shape: channels, height and width of an image.
        settings: device and precision.
    """
    model.to(settings.device).train()
    optimizer = recipe.make_optimizer(model)
    images = torch.zeros(recipe.batch_size, *shape, device=settings.device)
    labels = torch.zeros(recipe.batch_size, dtype=torch.int64, device=settings.device)
    dtype = DTYPES.get(settings.precision)
    with tf32(settings.tf32):
        with torch.autocast(settings.device, dtype, enabled=dtype is not None):
            loss = F.cross_entropy(model(channels_last(images) if settings.channels_last else images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _is_needed(settings: TrainerSettings) -> bool:
    return settings.device == "cuda"
