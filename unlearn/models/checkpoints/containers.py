"""The formats that hold checkpoints: torch's archive, torch's older files, plain pickles, safetensors."""

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
from unlearn.models.checkpoints.content import CONVERT, Kind, expected, detect_kind
from unlearn.models.checkpoints.tensors import Storages, StoredTensor, storage_type
from unlearn.models.checkpoints.unpickle import Bounded, Persistent, unpickle

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's older files


@dataclass(frozen=True)
class Content:
    """What a file holds: plain containers, `Instance`s, and for safetensors `StoredTensor`s."""

    payload: Any
    storages: Storages


def read_content(path: Path) -> Content:
    """What the checkpoint at `path` holds, none of its code run and none of its tensors read yet.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    read = {Kind.SAFETENSORS: _safetensors, Kind.ZIP: _archive, Kind.PICKLE: _pickles}[detect_kind(path)]
    try:
        return read(path)
    except DataError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> DataError:
    """The error for a file that cannot be read to its end."""
    return expected("a whole file", path, f"a damaged one ({type(error).__name__}: {first_line(error)[:200]})")


class Nothing:
    """No storages."""

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        raise ValueError("a tensor without its storage")


def _safetensors(path: Path) -> Content:
    from safetensors import safe_open

    file: Any = safe_open(path, framework="pt")
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping

    def tensor(name: str) -> StoredTensor:
        return StoredTensor(shapes[name], lambda: file.get_tensor(name))

    return Content({name: tensor(name) for name in shapes}, Nothing())


def _archive(path: Path) -> Content:
    archive = zipfile.ZipFile(path)
    size = path.stat().st_size
    found = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        files = ", ".join(archive.namelist()[:4])
        if files and all(name.endswith(".npy") for name in archive.namelist()):
            raise expected("weights", path, f"NumPy's archive of arrays (.npz: {files}): load it, and save {CONVERT}")
        raise expected("weights", path, f"a zip archive without data.pkl ({files}): unpack it, or save {CONVERT}")
    storages = _ZipStorages(archive, found[0].removesuffix("data.pkl"), size)
    pickled = storages.content("data.pkl")
    return Content(unpickle(Bounded(io.BytesIO(pickled), len(pickled))), storages)


class _ZipStorages:
    """`data/KEY` in the archive, uncompressed."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size: int) -> None:
        self.archive, self.root, self.size = archive, root, size
        self.swapped = f"{root}byteorder" in archive.namelist() and self.content("byteorder").strip() == b"big"

    def content(self, name: str) -> bytes:
        """Bytes of a file of the archive.

        Raises:
            ValueError: it is compressed, or longer than the archive.
        """
        info = self.archive.getinfo(self.root + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.size:
            raise ValueError(f"{name} is compressed, which torch never does")
        return self.archive.read(info)

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        return _of_bytes(self.content(f"data/{identifier[2]}"), identifier[4], dtype, self.swapped)


def _of_bytes(data: bytes, count: Any, dtype: torch.dtype, swapped: bool = False) -> Tensor:
    """The elements [n] of a storage."""
    if len(data) % dtype.itemsize or (isinstance(count, int) and len(data) < count):
        raise ValueError("a storage of another size than its tensors")
    if not data:
        return torch.empty(0, dtype=dtype)
    elements = torch.frombuffer(bytearray(data), dtype=dtype)
    if swapped:
        elements.untyped_storage().byteswap(dtype)  # type: ignore[no-untyped-call]
    return elements


def _pickles(path: Path) -> Content:
    """A plain pickle, or one of torch's older files: five pickles, then storages."""
    with path.open("rb") as file:
        return _older(file, path.stat().st_size, path)


def _older(file: BinaryIO, size: int, path: Path) -> Content:
    pickled = Bounded(file, size)
    first = unpickle(pickled)
    if first != MAGIC:
        return Content(first, Nothing())
    unpickle(pickled)  # the protocol
    system, named = unpickle(pickled), list[Persistent]()
    payload, keys = unpickle(pickled, named), unpickle(pickled)
    swapped = isinstance(system, Mapping) and system.get("little_endian") is False
    return Content(payload, _OlderStorages(path, _places(file, size, keys, named), swapped))


def _places(file: BinaryIO, size: int, keys: Any, named: Iterable[Persistent]) -> dict[str, tuple[int, int]]:
    """Start and length in bytes of each storage: each is a number of elements, then these.

    Raises:
        ValueError: the file ends before them.
    """
    types = {str(each.identifier[2]): storage_type(each) for each in named if storage_type(each) is not None}
    places, at = dict[str, tuple[int, int]](), file.tell()
    for key in keys:
        file.seek(at)
        dtype = types[key]
        assert dtype is not None
        length = int.from_bytes(file.read(8), "little") * dtype.itemsize
        places[key] = (at + 8, length)
        at += 8 + length
        if at > size:
            raise ValueError("the file ends before its tensors")
    return places


class _OlderStorages:
    """Storages behind the pickles."""

    def __init__(self, path: Path, places: dict[str, tuple[int, int]], swapped: bool) -> None:
        self.path, self.places, self.swapped = path, places, swapped

    def read(self, identifier: Any, dtype: torch.dtype) -> Tensor:
        start, length = self.places[identifier[2]]
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        view = identifier[5] if len(identifier) > 5 else None  # of a part of the storage: (key, offset, size)
        elements = _of_bytes(data, None if view else identifier[4], dtype, self.swapped)
        return elements if view is None else elements[view[1] : view[1] + view[2]]
