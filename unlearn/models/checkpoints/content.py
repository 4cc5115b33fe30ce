"""Detects the format of a checkpoint from its first bytes; suffixes are not reliable."""

from __future__ import annotations

import tarfile
from enum import Enum
from functools import lru_cache
from pathlib import Path

from unlearn.core.artifact_meta import file_sha256 as hash_file
from unlearn.core.errors import DataError

CONVERT = "torch.save(net.state_dict(), 'weights.pt')"  # for a machine where the class of the net is installed
MAX_HEADER = 100_000_000  # bytes of a safetensors header
OTHERS = {  # first bytes -> the format
    b"version https://git-lfs": "a Git LFS pointer: fetch the file that it stands for (git lfs pull)",
    b"\x1f\x8b": "a gzip file: unpack it first (gunzip)",
    b"BZh": "a bzip2 file: unpack it first",
    b"\xfd7zXZ\x00": "an xz file: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"\x89HDF\r\n": "an HDF5 file, as Keras writes it",
    b"\x93NUMPY": "a NumPy array",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF file",
    b"GGUF": "a GGUF file",
    b"\x08\x01\x12": "an ONNX model",
}


class Kind(Enum):
    """The supported formats."""

    SAFETENSORS = "safetensors"
    ZIP = "torch's archive"
    PICKLE = "pickle"


def detect_kind(path: Path) -> Kind:
    """The format of the file at `path`.

    Raises:
        DataError: the file is missing or unreadable, or has another format, which the message names.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise unexpected("a readable file", path, error.strerror or str(error)) from error
    if not head:
        raise unexpected("a whole file", path, "an empty one")
    if head.startswith(b"PK\x03\x04"):
        return Kind.ZIP
    if 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER and head[8:9] == b"{":
        return Kind.SAFETENSORS
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            raise unexpected("weights", path, name)
    if text := _describe_text(head):
        raise unexpected("weights", path, text)
    if _is_tar(head):
        raise unexpected("weights", path, "a tar archive: unpack it first")
    return Kind.PICKLE


def _is_tar(head: bytes) -> bool:
    """Whether a file begins with the header of a tar member with the right checksum."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "replace")
    except tarfile.HeaderError:
        return False
    return True


def _describe_text(head: bytes) -> str | None:
    """Describe a web page or other text; None for binary content."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "a web page: the download failed (open the address in a browser)"
    is_printable = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    if not is_printable or head.startswith((b"(", b"c", b"}", b"]")):  # a pickle of protocol 0 is printable too
        return None
    return f"text: {head[:40].decode('ascii')!r}"


def require_file(path: Path) -> None:
    """Require that a path is a file.

    Raises:
        DataError: there is no file.
    """
    try:
        if path.is_file():
            return
        got = "a folder" if path.is_dir() else "none there" if not path.exists() else "a pipe or device"
    except OSError as error:  # a name too long, a folder that may not be entered
        raise unexpected("a readable file", path, error.strerror or str(error)) from error
    raise unexpected("a file", path, got)


def unexpected(expected: str, path: Path, got: str) -> DataError:
    """Create the error for a file with other content."""
    return DataError(f"checkpoint: expected {expected} in {path}, got {got}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; cached in the process until size or modification time change.

    Raises:
        DataError: the file is missing or unreadable.
    """
    require_file(path)
    stat = path.stat()
    try:
        return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise unexpected("a readable file", path, error.strerror or str(error)) from error


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, changed: int) -> str:
    del size, changed  # part of the cache key
    return hash_file(path)
