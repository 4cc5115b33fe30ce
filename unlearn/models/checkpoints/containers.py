"""Reads the file formats of checkpoints: archives and older files of torch, plain pickles, safetensors."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from unlearn.core.errors import DataError, first_line
from unlearn.models.checkpoints.content import CONVERT, Kind, detect_kind, unexpected
from unlearn.models.checkpoints.tensors import Storages, StoredTensor, storage_type
from unlearn.models.checkpoints.unpickle import Bounded, Persistent, unpickle

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's older files


@dataclass(frozen=True)
class Content:
    """The content of a file: plain containers, `Instance`s, and for safetensors `StoredTensor`s."""

    payload: Any
    storages: Storages


def read_content(path: Path) -> Content:
    """Read a checkpoint without running its code; the values of tensors are read later.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    reader = {Kind.SAFETENSORS: _safetensors, Kind.ZIP: _archive, Kind.PICKLE: _pickles}[detect_kind(path)]
    try:
        return reader(path)
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise damaged_file(path, error) from error


def damaged_file(path: Path, error: Exception) -> DataError:
    """Create the error for a file that cannot be read to its end."""
    return unexpected("a whole file", path, f"a damaged one ({type(error).__name__}: {first_line(error)[:200]})")


class NoStorages:
    """The storages of a file that has none."""

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        raise ValueError("a tensor without its storage")


def _safetensors(path: Path) -> Content:
    from safetensors import safe_open

    file: Any = safe_open(path, framework="pt")
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping

    def tensor(name: str) -> StoredTensor:
        return StoredTensor(shapes[name], lambda: file.get_tensor(name))

    return Content({name: tensor(name) for name in shapes}, NoStorages())


def _archive(path: Path) -> Content:
    archive = zipfile.ZipFile(path)
    size = path.stat().st_size
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        files = ", ".join(archive.namelist()[:4])
        if files and all(name.endswith(".npy") for name in archive.namelist()):
            raise unexpected("weights", path, f"NumPy's archive of arrays (.npz: {files}): load it, and save {CONVERT}")
        raise unexpected("weights", path, f"a zip archive without data.pkl ({files}): unpack it, or save {CONVERT}")
    storages = _ZipStorages(archive, pickles[0].removesuffix("data.pkl"), size)
    pickled = storages.content("data.pkl")
    return Content(unpickle(Bounded(io.BytesIO(pickled), len(pickled))), storages)


class _ZipStorages:
    """The files `data/KEY` of an archive, which are not compressed."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size: int) -> None:
        self.archive, self.root, self.size = archive, root, size
        self.swapped = f"{root}byteorder" in archive.namelist() and self.content("byteorder").strip() == b"big"

    def content(self, name: str) -> bytes:
        """Read a file of the archive.

        Raises:
            ValueError: the file is compressed, or longer than the archive.
        """
        info = self.archive.getinfo(self.root + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.size:
            raise ValueError(f"{name} is compressed, which torch never does")
        return self.archive.read(info)

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        return _elements(self.content(f"data/{identifier[2]}"), identifier[4], dtype, self.swapped)


def _elements(data: bytes, count: Any, dtype: torch.dtype, swapped: bool = False) -> Tensor:
    """Convert the bytes of a storage to its elements [n]."""
    if len(data) % dtype.itemsize or (isinstance(count, int) and len(data) < count):
        raise ValueError("a storage with another size than its tensors")
    if not data:
        return torch.empty(0, dtype=dtype)
    elements = torch.frombuffer(bytearray(data), dtype=dtype)
    if swapped:
        elements.untyped_storage().byteswap(dtype)  # type: ignore[no-untyped-call]
    return elements


def _pickles(path: Path) -> Content:
    """Read a plain pickle, or an older file of torch: five pickles, then storages."""
    with path.open("rb") as file:
        return _read_pickles(file, path.stat().st_size, path)


def _read_pickles(file: BinaryIO, size: int, path: Path) -> Content:
    pickled = Bounded(file, size)
    first = unpickle(pickled)
    if first != MAGIC:
        return Content(first, NoStorages())
    unpickle(pickled)  # the protocol
    system, storages = unpickle(pickled), list[Persistent]()
    payload, keys = unpickle(pickled, storages), unpickle(pickled)
    swapped = isinstance(system, Mapping) and system.get("little_endian") is False
    return Content(payload, _OlderStorages(path, _locate_storages(file, size, keys, storages), swapped))


def _locate_storages(
    file: BinaryIO, size: int, keys: Any, storages: Iterable[Persistent]
) -> dict[str, tuple[int, int]]:
    """Find start and length in bytes of each storage, which is a number of elements, then the elements.

    Raises:
        ValueError: the file ends before the last storage.
    """
    types = {str(one.identifier[2]): storage_type(one) for one in storages if storage_type(one) is not None}
    ranges, position = dict[str, tuple[int, int]](), file.tell()
    for key in keys:
        file.seek(position)
        dtype = types[key]
        assert dtype is not None
        length = int.from_bytes(file.read(8), "little") * dtype.itemsize
        ranges[key] = (position + 8, length)
        position += 8 + length
        if position > size:
            raise ValueError("the file ends before its tensors")
    return ranges


class _OlderStorages:
    """Storages after the pickles of an older file of torch."""

    def __init__(self, path: Path, ranges: dict[str, tuple[int, int]], swapped: bool) -> None:
        self.path, self.ranges, self.swapped = path, ranges, swapped

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        start, length = self.ranges[identifier[2]]
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        view = identifier[5] if len(identifier) > 5 else None  # a part of the storage: (key, offset, size)
        elements = _elements(data, None if view else identifier[4], dtype, self.swapped)
        return elements if view is None else elements[view[1] : view[1] + view[2]]
