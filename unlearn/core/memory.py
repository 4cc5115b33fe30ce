"""Device memory: its free amount, detection of out-of-memory errors, and micro-batches where a batch does not fit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

# Apart from torch's own error: the CPU's allocator, cuBLAS, cuDNN, and errors that another process sent as text.
OUT_OF_MEMORY_MESSAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    "OutOfMemoryError",
)
FLOAT32_BYTES = 4
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that the memory of a device, or of this machine, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_MESSAGES)


def free_float32_count(device: torch.device) -> int:
    """How many float32 numbers fit into the free memory of a CUDA device."""
    torch.cuda.empty_cache()  # memory that the allocator holds without using it is free too
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return free_bytes // FLOAT32_BYTES


def release_cuda_memory() -> None:
    """Free the CUDA memory of dead models and of the allocator's cache; does nothing where CUDA is not in use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # a trainer and its module refer to each other
        torch.cuda.empty_cache()


class MicroBatches:
    """Splits batches into micro-batches of at most `size` samples.

    A micro-batch that runs out of memory is repeated as two halves, and no later one is larger than these halves.

    Args:
        size: the largest number of samples; None: a batch is not split until memory runs out.

    Example:
        >>> [len(rows) for rows in MicroBatches(2).map(lambda images: images, torch.zeros(5))]
        [2, 2, 1]
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def map(
        self, work: Callable[..., Result], *batch: Tensor, undo: Callable[[], bool] = lambda: True
    ) -> Iterator[Result]:
        """Call `work` on each micro-batch of a batch, in order, and yield the results.

        Args:
            work: gets the same rows of every tensor in `batch`.
            batch: tensors with equal numbers of rows.
            undo: reverts the side effects of a failed call of `work`; returns False if it cannot.

        Raises:
            RuntimeError, MemoryError: `work` failed for another reason; or memory ran out for a single sample, or
                after side effects that `undo` could not revert.
        """
        start, n = 0, len(batch[0])
        while start < n or start == 0:
            rows = [tensor[start : start + (self.size or max(1, n))] for tensor in batch]
            try:
                result = work(*rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(rows[0]) < 2 or not undo():
                    raise
                self.size = (len(rows[0]) + 1) // 2
            else:
                start += max(1, len(rows[0]))
                yield result
                continue
            release_cuda_memory()  # here, where the error no longer holds the tensors of the failed call
