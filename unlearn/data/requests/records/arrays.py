"""Reads arrays of indices from `.npy` and torch files without running code in them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from unlearn.core.errors import first_line
from unlearn.data.requests.records.record import Record, record


def records_of_npy(content: bytes) -> list[Record]:
    """Read an array of integers or names that `numpy.save` wrote.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    try:
        file = io.BytesIO(content)
        array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"an unreadable array ({first_line(error)})") from error
    if extra := len(content) - file.tell():
        raise ValueError(f"{extra} bytes after the array, perhaps a second array,")
    return _records(array)


def records_of_torch(content: bytes) -> list[Record]:
    """Read a tensor of integers that `torch.save` wrote.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    try:
        # weights_only builds only tensors and plain containers.
        payload = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")  # noqa: TID251
    except Exception as error:  # a damaged file can raise anything, also advice to run its code
        raise ValueError("a damaged file, or one that holds more than a tensor") from error
    if not isinstance(payload, torch.Tensor):
        raise ValueError(f"a {type(payload).__name__}, not a tensor of integers,")
    try:
        array = payload.detach().numpy()
    except (RuntimeError, TypeError, ValueError) as error:  # sparse, quantised, without values, of a type NumPy lacks
        raise ValueError(f"a tensor of {payload.dtype} that is no plain array, not one of integers,") from error
    return _records(array)


def _records(array: np.ndarray[Any, Any]) -> list[Record]:
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise ValueError(f"an array of {array.dtype} of shape {array.shape}, not a vector of integers,")
    kind = "file" if array.dtype.kind == "U" else "index"
    return [record(f"item {position}", **{kind: item}) for position, item in enumerate(array.tolist(), 1)]
