"""Describes the tensors of a checkpoint before their values are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unlearn.models.checkpoints.unpickle import Global, Instance, Persistent

MAX_EXTENT = 2**40  # of a size, a stride or an offset
MAX_DIMENSIONS = 64
TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
DENSE = {  # name in torch._utils -> number of arguments that describe the tensor
    "_rebuild_tensor": 4,
    "_rebuild_tensor_v2": 4,
    "_rebuild_tensor_v3": 7,
}
METADATA = {"_rebuild_tensor_v2": 6, "_rebuild_tensor_v3": 7}  # position of the argument with the lazy operations
LAZY: dict[str, Callable[[Tensor], Tensor]] = {"neg": torch.neg, "conj": torch.conj_physical}
WRAPPED = {  # calls with the tensor as their first argument
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}
ARRAYS = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
BUFFERS = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1")  # little-endian types of NumPy


class Storages(Protocol):
    """Reads the bytes of the tensors in a file."""

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        """Read a whole storage, [n].

        Raises:
            ValueError: the storage is missing, or has another size than in the pickle.
        """


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its shape, and a function that reads its values."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    kind: str = "dense"


def as_stored_tensor(value: Any, storages: Storages) -> StoredTensor | None:
    """Interpret a value of a pickle as a tensor; None if it is none."""
    if isinstance(value, StoredTensor):
        return value
    call = _unwrapped(value)
    if call is None:
        return None
    name = str(call.kind).removeprefix("torch._utils.")
    if name in DENSE:
        stored = _dense(call.arguments, DENSE[name], storages)
        at = METADATA.get(name, len(call.arguments))
        return _lazily(stored, *call.arguments[at : at + 1]) if stored else None
    if name in ARRAYS | BUFFERS:
        return _array(call.state) if name in ARRAYS else _buffer(call.arguments)
    if name.startswith("_rebuild_"):
        return StoredTensor((), _unread, name.removeprefix("_rebuild_").replace("_", " "))
    return None


def _unwrapped(value: Any) -> Instance | None:
    """The call that creates a tensor, without the calls that make it a parameter or a subclass."""
    for _ in range(4):
        if not (isinstance(value, Instance) and isinstance(value.kind, Global) and isinstance(value.arguments, tuple)):
            return None
        if str(value.kind) in WRAPPED and value.arguments:
            value = value.arguments[0]
        elif str(value.kind) == "torch._tensor._rebuild_from_type_v2" and len(value.arguments) > 2:
            value = Instance(value.arguments[0], value.arguments[2])
        else:
            return value
    return None


def _unread() -> Tensor:
    raise ValueError("not a dense tensor")


def _dense(arguments: tuple[Any, ...], needed: int, storages: Storages) -> StoredTensor | None:
    storage, offset, size, stride = (*arguments, None, None, None, None)[:4]
    shape = _integers(size)
    if len(arguments) < needed or shape is None or _integers(stride) is None or _integers((offset,)) is None:
        return None
    if not isinstance(storage, Persistent) or len(shape) != len(stride):
        return None
    dtype = _dtype(storage, arguments[6] if needed > 4 else None)
    identifier = storage.identifier
    if dtype is None:
        return StoredTensor(shape, _unread, kind="quantized or unknown")
    if not isinstance(identifier[2], str):
        return None

    def read() -> Tensor:
        try:
            return storages.read(identifier, dtype).as_strided(shape, stride, offset)
        except RuntimeError as error:
            raise ValueError("a tensor beyond its storage") from error

    return StoredTensor(shape, read)


def _lazily(stored: StoredTensor, metadata: Any = None) -> StoredTensor:
    """Add the lazy operations: torch saves `x.conj().imag` as the values and a negative bit."""
    if not metadata:
        return stored
    if not isinstance(metadata, dict) or not metadata.keys() <= LAZY.keys():
        return StoredTensor(stored.shape, _unread, kind="tensor with metadata of another kind")
    operations = [LAZY[name] for name, is_set in metadata.items() if is_set]

    def read() -> Tensor:
        values = stored.read()
        for operation in operations:
            values = operation(values)
        return values

    return StoredTensor(stored.shape, read, stored.kind)


def storage_type(storage: Persistent) -> torch.dtype | None:
    """The type of the elements of a storage; None if it is unknown, or quantized."""
    identifier = storage.identifier
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        return None
    kind = identifier[1]
    return TYPES.get(kind.name) if isinstance(kind, Global) and kind.module.startswith("torch") else None


def _dtype(storage: Persistent, named: Any) -> torch.dtype | None:
    """The type of a tensor: the type that it names, or that of its storage."""
    if named is None or storage_type(storage) is None:
        return storage_type(storage)
    dtype = getattr(torch, named.name, None) if isinstance(named, Global) and named.module == "torch" else None
    return dtype if isinstance(dtype, torch.dtype) else None


def _integers(values: Any) -> tuple[int, ...] | None:
    """A tuple of sizes; None if the value is something else."""
    if isinstance(values, Instance) and str(values.kind) == "torch.Size" and values.arguments:
        values = values.arguments[0]
    if not isinstance(values, tuple | list) or len(values) > MAX_DIMENSIONS:
        return None
    return tuple(values) if all(type(v) is int and 0 <= v < MAX_EXTENT for v in values) else None


def _array(state: Any) -> StoredTensor | None:
    """A NumPy array from `__reduce__`, with the state (version, shape, dtype, Fortran order, bytes)."""
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, size, dtype, fortran, data = state
    return _of_bytes(_bytes(data), size, dtype, "F" if fortran else "C")


def _buffer(arguments: tuple[Any, ...]) -> StoredTensor | None:
    """A NumPy array of protocol 5: (bytes, dtype, shape, order)."""
    if len(arguments) != 4 or arguments[3] not in ("C", "F"):
        return None
    data, dtype, size, order = arguments
    return _of_bytes(_bytes(data), size, dtype, order)


def _bytes(value: Any) -> bytes | None:
    """Bytes; protocol 2 writes them as encoded text."""
    if isinstance(value, Instance) and str(value.kind) == "_codecs.encode" and isinstance(value.arguments, tuple):
        text = value.arguments[0] if value.arguments else None
        value = text.encode("latin1", "replace") if isinstance(text, str) else None
    if isinstance(value, str):  # from Python 2
        value = value.encode("latin1", "replace")
    return value if isinstance(value, bytes) else None


def _of_bytes(data: bytes | None, size: Any, dtype: Any, order: str) -> StoredTensor | None:
    shape, name = _integers(size), _array_type(dtype)
    if data is None or shape is None or name is None or math.prod(shape) * int(name[1]) != len(data):
        return None

    def read() -> Tensor:
        import numpy as np

        array = np.frombuffer(data, "<" + name).reshape(shape, order="F" if order == "F" else "C")
        return torch.from_numpy(array.copy())

    return StoredTensor(shape, read)


def _array_type(value: Any) -> str | None:
    """The name of a little-endian dtype, such as `f4`; its state begins with (version, order)."""
    if not isinstance(value, Instance) or str(value.kind) != "numpy.dtype" or not isinstance(value.arguments, tuple):
        return None
    name = value.arguments[0] if value.arguments else None
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "|"
    return name if name in DTYPES and order in ("<", "|", "=") else None
