"""What the first work on a CUDA device pays for, paid before a stage's time is taken: context, handles, kernels."""

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
    """Do `work` on a CUDA device and wait for it, once per process and name; on a CPU nothing is done.

    What goes wrong is left to the stage, which meets it again and reports it. No random number of the CPU's is used
    up; the device's are seeded at the start of each epoch.
    """
    if not _pays(settings) or name in _done:
        return
    _done.add(name)
    with torch.random.fork_rng(devices=[]), suppress(RuntimeError, MemoryError):
        work()
        torch.cuda.synchronize()
    release_cuda_memory()


def training_step(model: nn.Module, recipe: Recipe, shape: tuple[int, int, int], settings: TrainerSettings) -> None:
    """One step of a net by a recipe, at its batch size and in the precision of `settings`, on grey images."""
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


def _pays(settings: TrainerSettings) -> bool:
    return settings.device == "cuda"
