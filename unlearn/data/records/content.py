"""What a list of records holds, as bytes and as text: gzip, byte order marks and encodings."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from unlearn.errors import DataError

MARKS = {  # UTF-32's first: its mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_bytes(path: Path, key: str) -> tuple[bytes, str]:
    """The content of a file, and its suffix in lower case; `.gz` is decompressed and dropped from the suffix.

    Raises:
        DataError: the file is missing, unreadable or not gzip; the message names the config's `key`.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() != ".gz":
            return content, path.suffix.lower()
        return gzip.decompress(content), path.with_suffix("").suffix.lower()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{key}: expected a readable text file, got {path}: {error}") from error


def decode(content: bytes, path: Path, key: str) -> str:
    """Text in UTF-8, or in the encoding of its byte order mark.

    Raises:
        DataError: it is not such text; the message names the config's `key`, and the line.
    """
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"bytes that are not {error.encoding.upper()} on line {line} of {path}"
        raise DataError(f"{key}: expected a readable text file, got {found}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{key}: expected a readable text file, got a NUL byte on line {line} of {path}")
    return text
