"""Turn errors of PyTorch that a setting can fix into one line that names the setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unlearn.core.errors import UnlearnError, first_line
from unlearn.core.memory import is_out_of_memory

NOT_DETERMINISTIC = re.compile(
    r"(\w+) does not have a deterministic implementation|[Dd]eterministic behavior was enabled"
)
GIB = 2**30


@contextmanager
def explain_torch_errors(label: str, remedy: str, device: str) -> Iterator[None]:
    """Name the stage and the remedy when memory runs out or an operation is not deterministic.

    Args:
        label: name of the stage in progress lines.
        remedy: instruction that makes the stage need less memory.
        device: device it runs on, `cuda` or `cpu`.

    Raises:
        UnlearnError: in place of such an error of PyTorch.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        message = _explain(error, remedy, device)
        if message is None:
            raise
        raise UnlearnError(f"{label}: {message}") from None


def _explain(error: BaseException, remedy: str, device: str) -> str | None:
    if is_out_of_memory(error):
        memory, allocation = _describe_memory(device), _describe_allocation(error)
        return f"expected a stage that fits into the memory of {memory}, got {allocation}; {remedy}"
    match = NOT_DETERMINISTIC.search(str(error))
    if match is None:
        return None
    operation = match[1] or first_line(error)
    return (
        f"trainer.deterministic: expected operations that repeat bit for bit on {device}, got {operation}; "
        "set trainer.deterministic=false, use trainer=cpu, or another model"
    )


def _describe_memory(device: str) -> str:
    if device != "cuda":
        return "this machine"
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()} ({free / GIB:.1f} of {total / GIB:.1f} GiB free)"


def _describe_allocation(error: BaseException) -> str:
    """Return the size that PyTorch tried to allocate, if its message has one; the rest is about its allocator."""
    size = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", str(error))
    return f"out of memory at {size[1]} more" if size else "out of memory"
