"""Device memory: how much is free, how running out of it looks, and smaller pieces where a batch does not fit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

# Besides torch's own error: the CPU's allocator, cuBLAS and cuDNN, and errors that come from another process as text.
SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "OutOfMemoryError")
NUMBER = 4  # bytes of a float32
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of a device or of this machine, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def free_numbers(device: torch.device) -> int:
    """How many float32 numbers fit into a CUDA device's memory now."""
    torch.cuda.empty_cache()  # what the allocator holds without using it is free too
    free, _ = torch.cuda.mem_get_info(device)
    return free // NUMBER


def release() -> None:
    """Give back what dead models and the allocator's cache hold on the CUDA device, if one is in use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # a trainer and its module refer to each other
        torch.cuda.empty_cache()


class Pieces:
    """Works through batches in pieces of at most `size` samples; None: each batch at once.

    A piece that runs out of memory is done again as two halves, and no later piece is larger than these.

    Example:
        >>> [len(piece) for piece in Pieces(2).results(lambda images: images, torch.zeros(5))]
        [2, 2, 1]
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def results(
        self, work: Callable[..., Result], *batch: Tensor, undo: Callable[[], bool] = lambda: True
    ) -> Iterator[Result]:
        """What `work` makes of each piece of a batch, in order.

        Args:
            work: gets the same rows of every tensor of `batch`.
            batch: tensors of equally many rows.
            undo: takes back what a failed piece has left behind; False: it cannot.

        Raises:
            RuntimeError, MemoryError: what `work` raised; memory ran out for a single sample, or could not be undone.
        """
        start, n = 0, len(batch[0])
        while start < n or start == 0:
            piece = [tensor[start : start + (self.size or max(1, n))] for tensor in batch]
            try:
                result = work(*piece)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(piece[0]) < 2 or not undo():
                    raise
                self.size = (len(piece[0]) + 1) // 2
            else:
                start += max(1, len(piece[0]))
                yield result
                continue
            release()  # here, where the error no longer holds the tensors that were in its way
