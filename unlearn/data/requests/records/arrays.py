"""Arrays of indices: `.npy` files and tensors that torch saved, neither of them unpickled."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from unlearn.core.errors import first_line
from unlearn.data.requests.records.record import Record, record


def records_of_npy(content: bytes) -> list[Record]:
    """The records of an array of integers, or of names, as `numpy.save` writes it.

    Raises:
        ValueError: it is damaged, or holds something else.
    """
    try:
        file = io.BytesIO(content)
        array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        raise ValueError(f"an unreadable array ({first_line(error)})") from error
    if behind := len(content) - file.tell():
        raise ValueError(f"{behind} more bytes behind the array, which may be a second one,")
    return _records(array)


def records_of_torch(content: bytes) -> list[Record]:
    """The records of a tensor of integers, as `torch.save` writes it.

    Raises:
        ValueError: it is damaged, or holds something else.
    """
    try:
        # weights_only builds tensors and plain containers, nothing else.
        payload = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")  # noqa: TID251
    except Exception as error:  # the reader raises whatever a damaged file leads it to, and advice to run its code
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
