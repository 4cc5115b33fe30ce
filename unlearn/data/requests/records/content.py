"""Reads the bytes and the text of a list of records: gzip, byte order marks and encodings."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from unlearn.core.errors import DataError

MARKS = {  # UTF-32 first, because its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


FORMATS = {  # first bytes -> the format, none of which is text
    b"PK\x03\x04": "a zip archive (as .npz and .xlsx are): save one array as .npy, or the list as CSV",
    b"\x93NUMPY": "a NumPy array: name it .npy",
    b"\x1f\x8b": "a gzip file: name it .gz",
    b"BZh": "a bzip2 file: unpack it first",
    b"\xfd7zXZ\x00": "an xz file: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"PAR1": "a Parquet file: save the list as CSV",
    b"\x80": "a pickle: save the list as text, CSV or .npy",
}
TAR = slice(257, 262), b"ustar"

LIMIT = 256 * 2**20  # bytes; a few kilobytes of gzip can decompress to more than the memory


def read_bytes(path: Path, key: str) -> tuple[bytes, str]:
    """Read a file; `.gz` is decompressed.

    Args:
        path: the file.
        key: the config key that messages name.

    Returns:
        The content, and the suffix in lower case without `.gz`.

    Raises:
        DataError: the file is missing, unreadable, not gzip or too large.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise OSError("not a regular file")
        is_compressed = path.suffix.lower() == ".gz"
        with gzip.open(path) if is_compressed else path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{key}: expected a readable text file, got {path}: {error}") from error
    if len(content) > LIMIT:
        raise DataError(f"{key}: expected a list of at most {LIMIT // 2**20} MiB, decompressed, got more in {path}")
    return content, (path.with_suffix("") if is_compressed else path).suffix.lower()


def decode(content: bytes, path: Path, key: str) -> str:
    """Decode text in UTF-8, or in the encoding of its byte order mark.

    Args:
        content: the content of the file.
        path: the file, which messages name.
        key: the config key that messages name.

    Raises:
        DataError: the content is not such text; the message names the line.
    """
    if binary := _binary_format(content):
        raise DataError(f"{key}: expected a readable text file, got {path}, {binary}")
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        got = f"bytes that are not {error.encoding.upper()} on line {line} of {path}"
        raise DataError(f"{key}: expected a readable text file, got {got}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{key}: expected a readable text file, got a NUL byte on line {line} of {path}")
    return text


def _binary_format(content: bytes) -> str:
    """The format of the bytes if it is a known one other than text; empty otherwise."""
    position, mark = TAR
    if content[position] == mark:
        return "a tar archive: unpack it first"
    return next((name for start, name in FORMATS.items() if content.startswith(start)), "")
