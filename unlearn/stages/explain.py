"""Errors of torch that a setting mends, as one line that names the setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unlearn.core.errors import UnlearnError, first_line
from unlearn.core.memory import is_out_of_memory

REPEATABLE = re.compile(r"(\w+) does not have a deterministic implementation|[Dd]eterministic behavior was enabled")
GIB = 2**30


@contextmanager
def explained(label: str, remedy: str, device: str) -> Iterator[None]:
    """Name the stage and the remedy where memory runs out, or where an operation does not repeat bit for bit.

    Args:
        label: what progress calls the stage.
        remedy: what makes it need less memory.
        device: `cuda` or `cpu`, on which it runs.

    Raises:
        UnlearnError: in place of those errors of torch.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = _told(error, remedy, device)
        if told is None:
            raise
        raise UnlearnError(f"{label}: {told}") from None


def _told(error: BaseException, remedy: str, device: str) -> str | None:
    if is_out_of_memory(error):
        return f"expected a stage that fits into the memory of {_memory(device)}, got {_tried(error)}; {remedy}"
    refused = REPEATABLE.search(str(error))
    if refused is None:
        return None
    operation = refused[1] or first_line(error)
    return (
        f"trainer.deterministic: expected operations that repeat bit for bit on {device}, got {operation}; "
        "set trainer.deterministic=false, use trainer=cpu, or another model"
    )


def _memory(device: str) -> str:
    if device != "cuda":
        return "this machine"
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()} ({free / GIB:.1f} of {total / GIB:.1f} GiB free)"


def _tried(error: BaseException) -> str:
    """`Tried to allocate 20.00 GiB`, where torch says so: the rest of its message speaks of its allocator."""
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", str(error))
    return f"out of memory at {asked[1]} more" if asked else "out of memory"
